"""WebDataset shards in a store: the same data, picks and curve as from this machine, an image by its
bytes alone, and what a store says is wrong.
"""

import pickle
import uuid

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from coreset.cli.common import conf_dir
from coreset.core.places import StoreError, place, put
from coreset.trainers.api import final
from coreset.trainers.data import shards as module
from coreset.trainers.data.on_demand import ImageShards
from coreset.trainers.data.shards import index
from coreset.trainers.data.webdataset import webdataset
from coreset.trainers.loops.build import build
from coreset.trainers.loops.rounds import run
from coreset.trainers.settings import resolve
from tests.stores import Faulty
from tests.trainers.data.photos import pieces, shards, tar

pytest.importorskip("upath", reason="the extra `stores` is not installed")


@pytest.fixture(autouse=True)
def no_faults():
    Faulty.every = 0
    yield
    Faulty.every = 0


@pytest.fixture
def memory():
    return place(f"memory://{uuid.uuid4().hex}")


def load(tmp_path, root, **options):
    return webdataset(str(root), size=16, cache=str(tmp_path / "cache"), **options)


def copied(paths, base):
    for path in paths:
        put(base / path.name, path.read_bytes())
    return f"{base}/train-{{000..{len(paths) - 1:03d}}}.tar"


@pytest.mark.parametrize("every", [0, 4])
def test_the_same_data_from_s3_that_fails_now_and_then(tmp_path, s3, every):
    paths = shards(tmp_path / "shards")
    root = copied(paths, s3 / f"shards-{every}")
    Faulty.every, Faulty.counts = every, {"all": 0, "503": 0, "partial": 0}
    there = load(tmp_path, root)
    assert every == 0 or min(Faulty.counts["503"], Faulty.counts["partial"]) > 2
    here = load(tmp_path, tmp_path / "shards")
    assert there.ids.tolist() == here.ids.tolist()
    assert there.fingerprint == here.fingerprint
    for name in ("images", "labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))


def curve(tmp_path, name, root):
    overrides = [
        "data=webdataset", f"data.root='{root}'", "data.size=16", f"data.cache={tmp_path}/cache-{name}",
        f"store={tmp_path}/store-{name}", "mode=active", "start=6", "budget=[12]", "strategy=margin", "fit.steps=10",
        "trainer.accelerator=cpu", "baseline=[]",
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)
    context = build(resolve(plain, overrides), tmp_path / name)
    run(context)
    points = [(p.labels, p.value) for p in context.folder.curve.points]
    return points, final(context.folder, "active").indices.tolist()


def test_the_same_picks_and_curve(tmp_path, memory):
    root = copied(shards(tmp_path / "shards"), memory)
    here = curve(tmp_path, "here", f"{tmp_path}/shards/train-{{000..002}}.tar")
    assert [labels for labels, _ in here[0]] == [6, 12]
    assert len(here[1]) == 12
    assert curve(tmp_path, "there", root) == here


def test_an_image_is_one_request_for_its_bytes_and_an_index_is_read_once(
    tmp_path, memory, monkeypatch
):
    root = copied(shards(tmp_path / "shards"), memory)
    rows = index(root, "cls", tmp_path / "cache")
    asked = []
    plain = type(memory.fs).cat_file

    def cat_file(self, path, start=None, end=None, **more):
        asked.append((start, end))
        return plain(self, path, start, end, **more)

    def refuse(*args, **kwargs):
        raise AssertionError("a shard is read again")

    monkeypatch.setattr(type(memory.fs), "cat_file", cat_file)
    monkeypatch.setattr(type(memory.fs), "_open", refuse)
    again = index(root, "cls", tmp_path / "cache")
    assert again.key == rows.key
    for i in (0, 13, 35):
        assert again.image(i) == pieces(36)[i][0]
    assert [b - a for a, b in asked] == [len(pieces(36)[i][0]) for i in (0, 13, 35)]


def test_workers_open_the_store_for_themselves(tmp_path, s3):
    paths = shards(tmp_path / "shards", 12, 6)
    root = copied(paths, s3 / "workers")
    plain = v2.Compose([v2.Resize((8, 8)), v2.ToImage()])
    here = ImageShards(tmp_path / "shards", plain, cache=str(tmp_path / "cache"))
    there = ImageShards(root, plain, cache=str(tmp_path / "cache"))
    assert there.ids.tolist() == here.ids.tolist()
    assert (there[0][0] == here[0][0]).all()  # the store is open here before they start
    Faulty.every = 5
    for rows in (there, pickle.loads(pickle.dumps(there))):
        loader = DataLoader(rows, 4, num_workers=2, multiprocessing_context="fork")
        every = [pair for images, labels in loader for pair in zip(images, labels, strict=True)]
        assert len(every) == 12
        for i, (image, label) in enumerate(every):
            assert (image == here[i][0]).all()
            assert label == here.targets[i]


def test_a_shard_that_breaks_off_or_is_no_tar_file(tmp_path, memory):
    paths = shards(tmp_path / "shards", 12, 6)
    root, whole = copied(paths, memory), paths[1].read_bytes()
    put(memory / "train-001.tar", whole[: len(whole) // 2 + 100])
    with pytest.raises(OSError, match=r"train-001.tar: .*breaks off.*, after sample [1-5]$"):
        load(tmp_path, root)
    tar(paths[1], [("../a.png", pieces(1)[0][0]), ("../a.cls", b"0")])
    put(memory / "train-001.tar", paths[1].read_bytes())
    with pytest.raises(ValueError, match=r"train-001.tar: .*leads out of the folder \(sample 1\)"):
        load(tmp_path, root)


def test_what_is_not_there(tmp_path, s3, memory):
    with pytest.raises(StoreError, match="there is no bucket for s3://nobody-has-this/a-000.tar"):
        load(tmp_path, "s3://nobody-has-this/a-{000..002}.tar")
    paths = shards(tmp_path / "shards", 12, 6)
    for base in (memory, s3 / "gap"):
        copied(paths, base)
        with pytest.raises(OSError, match=r"train-002.tar"):
            load(tmp_path, f"{base}/train-{{000..002}}.tar")


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_shard_that_changes_is_noticed_and_indexed_alone(tmp_path, request, monkeypatch, kind):
    base = request.getfixturevalue(kind) / "changes"
    paths = shards(tmp_path / "shards", 12, 6)
    root = copied(paths, base)
    rows = index(root, "cls", tmp_path / "cache")
    indexed = set((tmp_path / "cache").glob("shard-*"))
    assert rows.image(8) == pieces(12)[8][0]
    content = paths[1].read_bytes()
    at = content.index(b"\x89PNG") + 60  # inside of an image, the size stays
    put(base / "train-001.tar", content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    monkeypatch.setattr(module, "SECONDS", 0.0)
    with pytest.raises(ValueError, match=r"train-001.tar: has changed since it was indexed"):
        rows.image(8)
    with pytest.raises(ValueError, match=r"train-001.tar: has changed since it was indexed"):
        rows.check()
    assert rows.image(2) == pieces(12)[2][0]
    again = index(root, "cls", tmp_path / "cache")
    assert again.key != rows.key
    assert len(set((tmp_path / "cache").glob("shard-*")) - indexed) == 1
    (base / "train-001.tar").unlink()
    with pytest.raises(ValueError, match=r"train-001.tar: is there no more, or cannot be read"):
        again.image(8)


def test_a_change_while_images_are_decoded_leaves_nothing(tmp_path, memory, monkeypatch):
    paths = shards(tmp_path / "shards", 12, 6)
    root = copied(paths, memory)
    plain = module.Rows.image

    def image(self, i):
        if i == 11:
            put(memory / "train-000.tar", paths[0].read_bytes() + bytes(512))
        return plain(self, i)

    monkeypatch.setattr(module.Rows, "image", image)
    with pytest.raises(ValueError, match=r"train-000.tar: has changed since it was indexed"):
        load(tmp_path, root)
    assert not list((tmp_path / "cache").glob("images*/*.json"))


def test_a_store_that_refuses_is_no_broken_image(tmp_path, memory, monkeypatch):
    root = copied(shards(tmp_path / "shards", 12, 6), memory)
    plain = type(memory.fs).cat_file

    def cat_file(self, path, start=None, end=None, **more):
        if path.endswith("001.tar"):
            raise PermissionError("Access Denied")
        return plain(self, path, start, end, **more)

    monkeypatch.setattr(type(memory.fs), "cat_file", cat_file)
    words = r"train-001.tar: '00\d\d', bytes \d+ to \d+: no permission to read memory://"
    with pytest.raises(StoreError, match=words):
        load(tmp_path, root, on_corrupt="skip")
    rows = ImageShards(root, v2.ToImage(), cache=str(tmp_path / "cache"), on_corrupt="skip")
    with pytest.raises(StoreError, match=words):
        rows[8]
    assert len(rows[2]) == 2
    monkeypatch.setattr(
        type(memory.fs), "cat_file", lambda *args, **kwargs: plain(*args, **kwargs)[:10]
    )
    with pytest.raises(StoreError, match=r"expected \d+ bytes from \d+ on, got 10"):
        rows[2]
