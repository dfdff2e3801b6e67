"""WebDataset shards as a pool: by position, decoded in their tar files, in both loops' paths."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from torchvision.transforms import v2

import coreset.trainers
from coreset.cli.common import conf_dir
from coreset.trainers.data.decode import square
from coreset.trainers.data.on_demand import ImageShards, WebDatasetData
from coreset.trainers.data.shards import expand, index
from coreset.trainers.data.webdataset import webdataset
from coreset.trainers.learners.images import LitImages
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.loops.build import build
from coreset.trainers.loops.rounds import run
from coreset.trainers.settings import resolve
from tests.trainers.data.photos import pieces, shards, tar


def load(tmp_path, root="shards/*.tar", **options):
    return webdataset(str(tmp_path / root), size=16, cache=str(tmp_path / "cache"), **options)


def test_shards_hold_the_images_that_were_put_in(tmp_path):
    shards(tmp_path / "shards")
    data = load(tmp_path)
    assert data.name == "shards"
    assert data.classes == ("0", "1")
    assert len(data.images) + len(data.test_images) == 36
    rows = pieces(36)
    for i in (0, 7, len(data.ids) - 1):
        shard, key = data.ids[i].split("/")
        content, _, label = rows[int(key)]
        assert shard == f"train-{int(key) // 12:03d}.tar"
        assert data.labels[i] == label
        np.testing.assert_array_equal(data.images[i], square(Image.open(io.BytesIO(content)), 16))


@pytest.mark.parametrize(
    ("options", "reading", "classes"),
    [
        ({"text": lambda c: ("cat", "coffee")[c]}, {}, ("cat", "coffee")),
        ({"text": lambda c: ("cat", "coffee")[c]}, {"classes": ["coffee", "cat"]}, ("coffee", "cat")),
        ({"text": lambda c: f" {c}\n"}, {"classes": ["cat", "coffee"]}, ("cat", "coffee")),
        ({"field": "kind"}, {"label": "kind"}, ("0", "1")),
        ({"field": "kind", "text": lambda c: c}, {"label": "kind"}, ("0", "1")),
    ],
)  # fmt: skip
def test_classes_are_members_or_fields_names_or_numbers(tmp_path, options, reading, classes):
    shards(tmp_path / "shards", 12, 6, **options)
    data = load(tmp_path, **reading)
    assert data.classes == classes
    turned = classes[0] == "coffee"
    numbers = [int(i.split("/")[1]) % 2 for i in data.ids]
    assert data.labels.tolist() == [1 - n if turned else n for n in numbers]


def test_a_pool_without_labels_and_a_test_set_of_its_own(tmp_path):
    shards(tmp_path / "pool", 12, 6, text=lambda _: None)
    shards(tmp_path / "test", 8, 8, text=lambda c: ("cat", "coffee")[c], seed=5)
    shards(tmp_path / "numbers", 4, 4)
    data = load(tmp_path, "test", unlabeled=str(tmp_path / "pool"), classes=["cat", "coffee"])
    assert data.labels.tolist() == [-1] * 12
    assert sorted(data.test_labels.tolist()) == [0] * 4 + [1] * 4
    with pytest.warns(UserWarning, match="no test set, so nothing can be measured"):
        alone = webdataset(
            unlabeled=str(tmp_path / "pool"), classes=["cat", "coffee"], size=16, cache=str(tmp_path / "cache")
        )  # fmt: skip
    assert alone.ids.tolist() == data.ids.tolist()
    strange = load(
        tmp_path,
        "test",
        unlabeled=str(tmp_path / "test"),
        classes=["a", "b"],
        test_root=str(tmp_path / "numbers"),
    )
    assert strange.labels.tolist() == [-1] * 8
    with pytest.raises(ValueError, match="root: expected shards"):
        webdataset()
    with pytest.raises(ValueError, match=r"train-000.tar: is in the pool and in the test set"):
        load(tmp_path, "test", test_root=str(tmp_path / "test" / "*"))
    with pytest.raises(ValueError, match=r"'0000' has no class: expected a member '.cls', or a"):
        load(tmp_path, "pool")
    with pytest.raises(ValueError, match="classes: an unlabeled pool needs the names"):
        load(tmp_path, "test", unlabeled=str(tmp_path / "pool"))


def test_a_shard_that_changes_is_another_data_set_and_indexed_alone(tmp_path):
    paths = shards(tmp_path / "shards", 12, 6)
    before, rows = load(tmp_path), index(tmp_path / "shards", "cls", tmp_path / "cache")
    indexed = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("shard-*")}
    assert load(tmp_path).fingerprint == before.fingerprint
    content = paths[1].read_bytes()
    at = content.index(b"\x89PNG") + 60  # inside of an image, the size stays
    paths[1].write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    with pytest.raises(ValueError, match=r"train-001.tar: has changed since it was indexed"):
        rows.image(8)
    assert rows.image(2)
    again = index(tmp_path / "shards", "cls", tmp_path / "cache")
    assert again.key != rows.key
    now = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("shard-*")}
    assert len(now) == len(indexed) + 1
    assert all(now[p] == t for p, t in indexed.items())


def damaged(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


def linked(path):
    link = tarfile.TarInfo("0099.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar(path, [("0099.jpg", link), ("0099.cls", b"0")])


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (damaged, {}, r"train-001.tar: .*breaks off"),
        (lambda p: p.write_bytes(b"no tar" * 200), {}, r"train-001.tar: no tar file"),
        (lambda p: tar(p, [("a.txt", b"a word"), ("a.cls", b"1")]), {}, r"train-001.tar: expected images .* found none in this shard"),
        (lambda p: tar(p, [("a.png", pieces(1)[0][0])]), {}, r"train-001.tar: 'a' has no class"),
        (lambda p: tar(p, [("a.png", pieces(1)[0][0]), ("a.cls", b"")]), {}, r"'a' has no class"),
        (lambda p: tar(p, [("a.png", pieces(1)[0][0]), ("a.cls", b"dog")]), {}, r"numbers and names: '0' of .*train-000.tar: '0000', 'dog' of .*train-001.tar: 'a'"),
        (lambda p: tar(p, [("a.png", pieces(1)[0][0]), ("a.cls", b"dog")]), {"classes": ["x", "y"]}, r"train-001.tar: 'a' has the class 'dog', which is not in data.classes: x, y"),
        (lambda p: tar(p, [("a.png", pieces(1)[0][0]), ("a.json", b'{"cls": [1]}')]), {}, r"train-001.tar: 'cls' of 'a' is \[1\]"),
        (lambda p: tar(p, [("../a.png", pieces(1)[0][0]), ("../a.cls", b"0")]), {}, r"train-001.tar: .*leads out of the folder"),
        (linked, {}, r"train-001.tar: .* is a link"),
        (lambda p: tar(p, [("a.png", b"%!PS no image"), ("a.cls", b"0")]), {}, r"train-001.tar: 'a' \(UnidentifiedImageError"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_shard(tmp_path, make, options, words):
    paths = shards(tmp_path / "shards", 12, 6)
    make(paths[1])
    with pytest.raises(ValueError, match=words):
        load(tmp_path, **options)


def test_samples_without_an_image_are_counted(tmp_path):
    (path,) = shards(tmp_path / "shards", 6, 6)
    with tarfile.open(path, "a") as file:
        about = tarfile.TarInfo("note.txt")
        file.addfile(about)
    with pytest.warns(UserWarning, match="1 samples have no image, first .*: 'note'; left out"):
        assert len(index(path, "cls", tmp_path / "cache")) == 6


def test_nothing_there_and_names_of_numbers(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path)
    shards(tmp_path / "shards", 12, 6)
    assert len(index(tmp_path / "shards" / "train-{000..001}.tar", "cls", tmp_path / "c")) == 12
    assert expand("a{1..2}-{08..09}") == ["a1-08", "a1-09", "a2-08", "a2-09"]


def test_active_mode_from_the_command_lines_settings(tmp_path):
    shards(tmp_path / "shards")
    overrides = [
        "data=webdataset", f"data.root='{tmp_path}/shards/train-{{000..002}}.tar'", "data.size=16", f"data.cache={tmp_path}/cache",
        f"store={tmp_path}/store", "mode=active", "start=6", "budget=[12]", "strategy=margin", "fit.steps=20",
        "trainer.accelerator=cpu", "baseline=[]",
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)
    context = build(resolve(plain, overrides), tmp_path / "run")
    run(context)
    assert [p.labels for p in context.folder.curve.points] == [6, 12]
    assert context.folder.curve.points[-1].value > 0.5


def on_demand(tmp_path, **options):
    root = str(tmp_path / "shards" / "*.tar")
    shards(tmp_path / "test", 8, 8, seed=3)
    return WebDatasetData(
        root,
        test=str(tmp_path / "test"),
        size=32,
        batch_size=4,
        cache=str(tmp_path / "cache"),
        **options,
    )


def test_images_of_every_shape_by_workers_in_the_lightning_loop(tmp_path):
    shards(tmp_path / "shards", 24, 8)
    pl.seed_everything(0, verbose=False)
    ran = coreset.trainers.active(
        LitImages("mobilenetv3_small_050", 2), on_demand(tmp_path, workers=1), strategy="margin",
        budget=[6, 10], trainer={"accelerator": "cpu", "max_epochs": 1}, baseline=(),
        folder=tmp_path / "run",
    )  # fmt: skip
    assert len(ran.selection.indices) == 10
    assert ran.curve.metric == "test_accuracy"


def test_the_pool_on_demand_knows_ids_labels_and_its_own_state(tmp_path):
    paths = shards(tmp_path / "shards", 12, 6)

    def learner():
        return LightningLearner(LitImages("mobilenetv3_small_050", 2), on_demand(tmp_path, workers=0), {"accelerator": "cpu", "max_epochs": 1})  # fmt: skip

    first = learner()
    assert first.ids.tolist()[6] == "train-001.tar/0006"
    assert first.known_labels.tolist() == [0, 1] * 6
    key = first.pool.fingerprint
    assert learner().pool.fingerprint == key
    os.utime(paths[0], ns=(1, 1))
    assert learner().pool.fingerprint != key
    plain = v2.Compose([v2.Resize((8, 8)), v2.ToImage()])
    rows = ImageShards(tmp_path / "shards", plain, cache=str(tmp_path / "cache"))
    os.utime(paths[0])
    with pytest.raises(ValueError, match="has changed since it was indexed"):
        rows[0]


def test_the_index_opens_nothing_but_its_shards(tmp_path, monkeypatch):
    shards(tmp_path / "shards", 12, 6)
    load(tmp_path)
    written = {p.name.split("-")[0] for p in (tmp_path / "cache").iterdir()}
    assert written == {"shard", "images"}
    assert not list(Path(tmp_path).rglob("*.png"))
