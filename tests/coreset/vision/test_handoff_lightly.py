"""Images that LightlyStudio would leave out: paths are patterns to it, broken files are skipped."""

import glob
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from coreset.vision.handoff.lightly import from_lightly, to_lightly


class Sample:
    def __init__(self, path: str) -> None:
        self.file_path_abs, self.tags, self.metadata = path, set(), dict[str, object]()

    def add_tag(self, tag: str) -> None:
        self.tags.add(tag)


class Dataset(list):
    """Takes files as LightlyStudio 1.2 does (fsspec_lister.py): a path with one of *?[] is a pattern
    of files, a folder is all in it; what cannot be opened is left out.
    """

    def add_images_from_path(self, path: str, embed: bool) -> None:
        assert not embed
        pattern = any(c in path for c in "*?[]")
        below = glob.glob(path) if pattern else [path]  # noqa: PTH207
        if not pattern and Path(path).is_dir():
            below = [str(p) for p in Path(path).rglob("*")]
        for one in filter(Path.is_file, map(Path, below)):
            if one.read_bytes() != b"broken":
                self.append(Sample(str(one)))


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    one = Dataset()
    kind = SimpleNamespace(load_or_create=lambda name: one)
    monkeypatch.setitem(sys.modules, "lightly_studio", SimpleNamespace(ImageDataset=kind))
    return one


def rows(folder: Path, *names: str) -> list[dict[str, object]]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3)).save(folder / name)
    return [
        {"id": i, "file_name": n, "filepath": str(folder / n), "priority": i, "score": None}
        for i, n in enumerate(names)
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_names_that_are_patterns_are_the_files_they_name(dataset, tmp_path, whole: bool) -> None:
    names = ["a[1]/x.jpg", "b/a[1].jpg", "b/c?.jpg", "b/d*.jpg", "c/plain.jpg"]
    given = rows(tmp_path, *names)
    if not whole:
        rows(tmp_path, "b/a1.jpg", "b/cc.jpg", "b/dd.jpg", "a[1]/other.jpg", "c/other.jpg")
    back = from_lightly(to_lightly(given))
    assert sorted(r["file_name"] for r in back) == sorted(names)
    assert all(r["tags"] == ["chosen"] for r in back)
    assert len(dataset) == len(names)


def test_what_is_not_taken_is_an_error(dataset, tmp_path: Path) -> None:
    given = rows(tmp_path, "b/x.jpg", "b/y.jpg", "b/z.jpg")
    (tmp_path / "b" / "y.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"did not take 1 of 3 images, first '.*y\.jpg'"):
        to_lightly(given)
    with pytest.raises(ValueError, match="4 rows of 3 files"):
        to_lightly([*given, given[0]])
