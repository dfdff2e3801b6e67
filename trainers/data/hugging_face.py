"""Image classification data sets of the Hugging Face `datasets` library: from the hub, from
`save_to_disk`, or a folder of images (extra `hf`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coreset.core.store import Store, fingerprint
from coreset.scorers.image.decode import upright
from coreset.scorers.image.files import MOST_BYTES, decoding, open_image
from coreset.trainers.data.base import ImageData, split_test
from coreset.trainers.data.decode import decode
from coreset.trainers.data.streamed import streamed


def hf_dataset(
    path: str,
    image: str = "image",
    label: str = "label",
    train: str = "train",
    test: str | None = "test",
    test_share: float = 0.2,
    size: int = 64,
    on_corrupt: str = "error",
    augment: str = "crop_flip",
    cache: str = ".cache/coreset",
    streaming: bool = False,
) -> ImageData:
    """Return a data set by its name on the hub, or from a local folder: one written by
    `save_to_disk`, or any that `load_dataset` reads.

    image, label: names of the columns; train, test: names of the splits; without a test split (test
    = null) about `test_share` of every class of `train` is the test set. ids are positions in
    `train`; a label of -1 is unknown. Images are decoded once into `cache` (see
    `coreset.trainers.data.decode`). streaming: read it once from end to end, its images' bytes into
    shards below `cache` that are then read by position (`coreset.trainers.data.streamed`): no
    download of the whole before the first row, and a stream that breaks off goes on. Raises
    ImportError with the install line when `datasets` is
    missing, KeyError for a column or a split that is not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            'Hugging Face data sets need the extra hf: pip install "coreset-lightning[hf]"'
        ) from error

    if streaming:
        return streamed(
            path, image, label, train, test, test_share, size, on_corrupt, augment, cache
        )
    saved = any((Path(path) / file).is_file() for file in ("dataset_dict.json", "state.json"))
    splits = datasets.load_from_disk(path) if saved else datasets.load_dataset(path)
    if not isinstance(splits, dict):  # `save_to_disk` of a single split
        splits = {train: splits}
    return convert(
        Path(path).name,
        splits,
        image,
        label,
        train,
        test,
        test_share,
        size,
        on_corrupt,
        augment,
        Store(cache),
    )


def convert(
    name: str,
    splits: dict[str, Any],
    image: str,
    label: str,
    train: str,
    test: str | None,
    test_share: float,
    size: int,
    on_corrupt: str,
    augment: str,
    store: Store,
) -> ImageData:
    """Return ImageData from splits that behave as `datasets.Dataset`; the parameters are those of
    `hf_dataset`.
    """
    names = [train] if test is None else [train, test]
    for split in names:
        if split not in splits:
            raise KeyError(
                f"{name}: no split {split!r}; present: {', '.join(splits)} (data.train, data.test)"
            )
    parts = [splits[split] for split in names]
    for column in (image, label):
        if column not in parts[0].features:
            raise KeyError(
                f"{name}: no column {column!r}; present: {', '.join(parts[0].features)}"
                " (data.image, data.label)"
            )
    labels = np.concatenate([_labels(part, label) for part in parts])
    classes = getattr(parts[0].features[label], "names", None) or [
        str(i) for i in range(int(labels.max()) + 1)
    ]
    length = len(parts[0])
    rows = np.concatenate([np.arange(len(part)) for part in parts])
    of_test = np.repeat(np.arange(len(parts)) == 1, [len(part) for part in parts])
    if test is None:
        known = labels >= 0
        of_test[known] = split_test(labels[known], rows[known], test_share)
    order = np.argsort(of_test, kind="stable")  # the pool first
    pool = int((~of_test).sum())

    narrow = [undecoded(part.select_columns([image]), image) for part in parts]
    mode = getattr(parts[0].features[image], "mode", None)

    def load(i: int) -> AbstractContextManager[Image.Image]:
        at = int(order[i])
        return opened(narrow[int(at >= length)][int(rows[at])][image], mode)

    titles = [f"{names[int(at >= length)]}[{rows[at]}]" for at in order.tolist()]
    key = fingerprint([part._fingerprint for part in parts], image, titles, size)
    decoded = decode(store, key, titles, load, size, pool, on_corrupt)
    kept = order[decoded.kept]
    images, test_images = decoded.images[: decoded.pool], decoded.images[decoded.pool :]
    return ImageData(
        name, images, labels[kept[: decoded.pool]], test_images, labels[kept[decoded.pool :]],
        tuple(classes),
        decoded.mean, decoded.std, rows[kept[: decoded.pool]], augment, decoded.content,
    )  # fmt: skip


def undecoded(part: Any, image: str) -> Any:
    """Return a split whose images come as bytes or paths: `datasets` itself would open any format
    that Pillow knows, PostScript with them.
    """
    feature = part.features.get(image)
    if not getattr(feature, "decode", False):
        return part
    return part.cast_column(image, type(feature)(decode=False))


@contextmanager
def opened(value: Any, mode: str | None = None) -> Iterator[Image.Image]:
    """Give an image as rows of `datasets` hold it: {"bytes", "path"}, or an image already. mode:
    what the column's feature says, None for as it comes.

    Raises ValueError for a row without an image.
    """
    if isinstance(value, Image.Image):
        with value:
            yield value
        return
    if not isinstance(value, Mapping) or (value.get("bytes") is None and value.get("path") is None):
        raise ValueError(f"expected an image, got {type(value).__name__} without bytes or path")
    with open_image(_source(value)) as image, decoding.hold(image.width * image.height):
        image.load()  # whole, as `datasets` gives it
        seen = upright(image)
        yield seen.convert(mode) if mode and mode != seen.mode else seen


def _source(value: Mapping[str, Any]) -> Path | bytes:
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    from datasets.utils.file_utils import is_local_path, xopen

    if is_local_path(value["path"]):
        return Path(value["path"])
    with xopen(value["path"], "rb") as file:
        return bytes(file.read(MOST_BYTES + 1))


def _labels(part: Any, label: str) -> NDArray[np.int64]:
    """Return a column of labels, missing ones (None) as -1. Raises TypeError for labels that are no
    whole numbers.
    """
    values = [-1 if value is None else value for value in part[label][:]]
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu":
        raise TypeError(
            f"{label}: expected whole numbers, got {numbers.dtype}; `cast_column` to ClassLabel"
            " first"
        )
    return numbers.astype(np.int64)
