"""A folder of images with one sub-folder per class, as torchvision reads it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coreset.core.places import stamp
from coreset.core.store import Store, fingerprint
from coreset.scorers.image.files import open_image
from coreset.trainers.data.base import ImageData, split_test
from coreset.trainers.data.decode import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def image_folder(
    root: str,
    test_root: str | None = None,
    test_share: float = 0.2,
    size: int = 64,
    on_corrupt: str = "error",
    augment: str = "crop_flip",
    cache: str = ".cache/coreset",
    unlabeled: str | None = None,
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Return the images below `root`, one sub-folder per class; labels follow the sorted names of
    the folders, ids are the paths below the pool's folder.

    The test set is `test_root`, else `root`/test or `root`/val beside `root`/train, else about
    `test_share` of every class, by a hash of each path. size, on_corrupt: see
    `coreset.trainers.data.decode`; decoded once into `cache`. Left out with a warning: files that
    no image has the name of, and empty folders. Raises FileNotFoundError when a folder is missing,
    ValueError when there are no two classes or the test set has a class the pool has not.

    unlabeled: a folder of images that nobody has labeled, which is the pool; `classes` are then
    named beforehand, and the test set is what lies in their folders below `test_root` or `root`
    (none: nothing can be measured, which a warning says).
    """
    if unlabeled is not None:
        return _unlabeled(root, test_root, unlabeled, classes, size, on_corrupt, augment, cache)
    if classes is not None:
        raise ValueError("classes: are named beforehand for an unlabeled pool only (unlabeled=...)")
    pool_root = Path(root)
    if test_root is None and (pool_root / "train").is_dir():
        beside = [pool_root / name for name in ("test", "val") if (pool_root / name).is_dir()]
        if beside:
            test_root, pool_root = str(beside[0]), pool_root / "train"
        if len(beside) > 1:
            warnings.warn(f"{root}: test/ is the test set, val/ is not used", stacklevel=2)
    files, of_class = _scan(pool_root)
    classes = tuple(sorted(set(of_class)))
    if len(classes) < 2:
        raise ValueError(
            f"{pool_root}: expected at least two class folders with images, found {list(classes)}"
        )
    labels = np.searchsorted(classes, of_class).astype(np.int64)
    ids = np.array(files)
    paths = [pool_root / name for name in files]
    if test_root is None:
        test = split_test(labels, ids, test_share)
    else:
        test_files, test_of_class = _scan(Path(test_root))
        strange = sorted(set(test_of_class) - set(classes))
        if strange:
            raise ValueError(
                f"{test_root}: {len(strange)} classes are not in the pool, first {strange[0]!r}"
            )
        paths += [Path(test_root) / name for name in test_files]
        ids = np.array([*files, *test_files])
        labels = np.concatenate([labels, np.searchsorted(classes, test_of_class).astype(np.int64)])
        test = np.arange(len(paths)) >= len(files)
    order = np.argsort(test, kind="stable")  # the pool first
    paths, ids, labels, pool = (
        [paths[i] for i in order],
        ids[order],
        labels[order],
        int((~test).sum()),
    )
    stats = [list(stamp(path) or ()) for path in paths]
    key = fingerprint(list(map(str, paths)), stats, size, pool)
    decoded = decode(
        Store(cache),
        key,
        list(map(str, paths)),
        lambda i: open_image(paths[i]),
        size,
        pool,
        on_corrupt,
    )
    ids, labels = ids[decoded.kept], labels[decoded.kept]
    images, test_images = decoded.images[: decoded.pool], decoded.images[decoded.pool :]
    return ImageData(
        Path(root).resolve().name, images, labels[: decoded.pool], test_images,
        labels[decoded.pool :], classes,
        decoded.mean, decoded.std, ids[: decoded.pool], augment, decoded.content,
    )  # fmt: skip


def _unlabeled(
    root: str,
    test_root: str | None,
    unlabeled: str,
    classes: Sequence[str] | None,
    size: int,
    on_corrupt: str,
    augment: str,
    cache: str,
) -> ImageData:
    names = tuple(map(str, classes or ()))
    if len(names) < 2:
        raise ValueError(
            "classes: an unlabeled pool needs the names of its classes, at least two, as"
            " 'data.classes=[rose,tulip]'"
        )
    pool_root, labeled_root = Path(unlabeled), Path(test_root or root)
    if not pool_root.is_dir():
        raise FileNotFoundError(f"{pool_root}: no such folder (data.unlabeled)")
    files = _images(pool_root)
    if not files:
        raise ValueError(f"{pool_root}: expected images, found none (data.unlabeled)")
    beside = sorted(p.name for p in labeled_root.iterdir() if p.is_dir())
    strange = [n for n in beside if n not in names and labeled_root / n != pool_root]
    if test_root is not None and strange:
        raise ValueError(f"{test_root}: {strange[0]!r} is not in data.classes: {', '.join(names)}")
    tests = [f"{n}/{f}" for n in names if n in beside for f in _images(labeled_root / n)]
    if not tests:
        warnings.warn(
            f"{labeled_root}: no labeled images in {', '.join(names)}: there is no test set, so"
            " nothing can be measured and the curve has no values",
            stacklevel=3,
        )
    paths = [pool_root / f for f in files] + [labeled_root / f for f in tests]
    stats = [list(stamp(path) or ()) for path in paths]
    decoded = decode(
        Store(cache),
        fingerprint(list(map(str, paths)), stats, size, len(files)),
        list(map(str, paths)),
        lambda i: open_image(paths[i]),
        size,
        len(files),
        on_corrupt,
    )
    ids = np.array(files)[decoded.kept[: len(files)]]
    of_test = np.array([names.index(f.split("/")[0]) for f in tests], np.int64)
    of_test = of_test[decoded.kept[len(files) :]]
    images, test_images = decoded.images[: decoded.pool], decoded.images[decoded.pool :]
    unknown = np.full(len(images), -1, np.int64)
    return ImageData(
        Path(root).resolve().name, images, unknown, test_images, of_test, names,
        decoded.mean, decoded.std, ids, augment, decoded.content,
    )  # fmt: skip


def _images(root: Path) -> list[str]:
    """Return the images below a folder as sorted relative paths."""
    inside = _files(root, root)
    return sorted(name for name in inside if name.lower().endswith(SUFFIXES))


def _files(folder: Path, root: Path) -> list[str]:
    """Return all files below a folder as paths relative to `root`; links to folders are followed.

    Raises ValueError for a folder that is reached twice, as by a link to a folder above it, and for
    a name that is not UTF-8.
    """
    out, seen = [], dict[str, str]()
    for where, _, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            raise ValueError(f"{where} and {seen[real]} are one folder, by a link; remove the link")
        seen[real] = where
        out += [(Path(where) / name).relative_to(root).as_posix() for name in names]
    wrong = next((name for name in out if not _encodes(name)), None)
    if wrong is not None:
        raise ValueError(f"{root}: the name of {wrong!r} is not UTF-8; rename it")
    return out


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _scan(root: Path) -> tuple[list[str], list[str]]:
    """Return the images below the class folders of `root` as sorted relative paths, and the class
    of each; warns about what is left out.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: no such folder; set data.root to a folder with one sub-folder per class"
        )
    files: list[str] = []
    left_out: list[str] = [p.name for p in sorted(root.iterdir()) if p.is_file()]
    empty: list[str] = []
    for folder in sorted(
        p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")
    ):
        inside = _files(root / folder, root)
        images = [name for name in inside if name.lower().endswith(SUFFIXES)]
        left_out += sorted(set(inside) - set(images))
        files += sorted(images)
        if not images:
            empty.append(folder)
    if left_out:
        warnings.warn(
            f"{root}: {len(left_out)} files are no images of a class, first {left_out[0]}",
            stacklevel=3,
        )
    if empty:
        warnings.warn(
            f"{root}: {len(empty)} class folders hold no image, first {empty[0]}", stacklevel=3
        )
    return files, [name.split("/")[0] for name in files]
