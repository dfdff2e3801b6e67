"""WebDataset shards (tar files) as a data set of the loops."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coreset.core.store import Store, fingerprint
from coreset.scorers.image.files import open_image
from coreset.trainers.data.base import ImageData, split_test
from coreset.trainers.data.decode import decode
from coreset.trainers.data.shards import Rows, check_apart, class_numbers, index


def webdataset(
    root: str | None = None,
    test_root: str | None = None,
    test_share: float = 0.2,
    label: str = "cls",
    size: int = 64,
    on_corrupt: str = "error",
    augment: str = "crop_flip",
    cache: str = ".cache/coreset",
    unlabeled: str | None = None,
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Return the images of WebDataset shards, as `shards/train-{000..127}.tar` or
    `s3://bucket/train-{000..127}.tar`; ids are shard and key.

    root, test_root, unlabeled: globs, folders or files (see `coreset.trainers.data.shards.index`).
    label: the member with the class, `cls` = `0001.cls`, or the field of the `.json` member.
    classes: names in the order of their numbers, default those in the shards. The test set is
    `test_root`, else about `test_share` of every class, by a hash of each id. size, on_corrupt: see
    `coreset.trainers.data.decode`; decoded once into `cache`. unlabeled: shards that nobody has
    labeled, which are the pool; `classes` are then named beforehand and the test set is
    `test_root`, or `root` (none: nothing can be measured). Raises FileNotFoundError or ValueError
    naming shard and sample.
    """
    if unlabeled is not None and len(classes or ()) < 2:
        raise ValueError(
            "classes: an unlabeled pool needs the names of its classes, at least two, as"
            " 'data.classes=[rose,tulip]'"
        )
    source = unlabeled or root
    if source is None:
        raise ValueError("root: expected shards, as 'data.root=shards/*.tar'")
    rows = index(source, label, cache)
    if unlabeled is None:
        numbers, names = class_numbers(rows, label, classes)
        held = test_root
    else:  # what such a shard says of a class is for somebody else
        numbers, names = np.full(len(rows), -1), tuple(map(str, classes or ()))
        held = test_root or root
    parts, every = [rows], [numbers]
    if held is not None:
        parts.append(index(held, label, cache))
        check_apart(*parts)
        every.append(class_numbers(parts[1], label, names)[0])
    return assemble(
        PurePath(rows.shards[0]).parent.name,
        parts, every, names, test_share, size, on_corrupt, augment, cache,
    )  # fmt: skip


def assemble(
    name: str,
    parts: Sequence[Rows],
    labels: Sequence[NDArray[np.int64]],
    classes: tuple[str, ...],
    test_share: float,
    size: int,
    on_corrupt: str,
    augment: str,
    cache: str,
    ids: NDArray[Any] | None = None,
) -> ImageData:
    """Return a data set of one indexed part, split by a hash of the ids, or of a pool and a test
    set. labels: class numbers of each part; ids (N,): of the pool, default those of its rows.
    """
    if len(classes) < 2:
        raise ValueError(
            f"{parts[0].shards[0]}: expected at least two classes, got {list(classes)}; name them"
            " with 'data.classes=[rose,tulip]'"
        )
    of = np.repeat(np.arange(len(parts)), list(map(len, parts)))
    at = np.concatenate([np.arange(len(part)) for part in parts])
    test, numbers = of == 1, np.concatenate(labels)
    own = np.char.decode(parts[0].ids) if ids is None else ids
    if len(parts) == 1:
        known = numbers >= 0
        test[known] = split_test(numbers[known], own[known], test_share)
    if not test.any():
        warnings.warn(f"{name}: there is no test set, so nothing can be measured", stacklevel=3)
    order = np.argsort(test, kind="stable")  # the pool first
    places = list(zip(of[order].tolist(), at[order].tolist(), strict=True))

    def unchanged() -> None:
        for part in parts:
            part.check()

    made = decode(
        Store(cache),
        fingerprint([part.key for part in parts], order, size),
        [parts[p].title(i) for p, i in places],
        lambda n: open_image(parts[places[n][0]].image(places[n][1])),
        size,
        len(order) - int(test.sum()),
        on_corrupt,
        unchanged,
    )
    kept, cut = order[made.kept], made.pool
    return ImageData(
        name, made.images[:cut], numbers[kept[:cut]], made.images[cut:], numbers[kept[cut:]], classes,
        made.mean, made.std, own[kept[:cut]], augment, made.content,
    )  # fmt: skip
