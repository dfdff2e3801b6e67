"""Pools that nobody has labeled, tables of images, images decoded on demand."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torchvision.transforms import v2

import coreset.trainers
from coreset.trainers.data.folder import image_folder
from coreset.trainers.data.on_demand import ImageFiles, ImageFolderData
from coreset.trainers.data.table import image_table
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.learners.images import LitImages
from coreset.trainers.learners.in_memory import InMemoryLearner
from coreset.trainers.learners.lightning import LightningLearner
from coreset.trainers.tasks.models import small_cnn


def photo(path, shade, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 40, (*size[::-1], 3))
    Image.fromarray(np.clip(noise + shade, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for i in range(12):
        photo(tmp_path / "photos" / "unlabeled" / f"{i}.png", 20 * i, (30 + i, 25 + 2 * i))
    for i in range(3):
        photo(tmp_path / "photos" / "rose" / f"{i}.png", 10 + i)
        photo(tmp_path / "photos" / "tulip" / f"{i}.png", 200 + i)
    return tmp_path / "photos"


def test_an_unlabeled_folder_with_a_labeled_test_set(photos, tmp_path):
    data = image_folder(
        str(photos), unlabeled=str(photos / "unlabeled"), classes=["rose", "tulip"], size=16,
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    assert data.labels.tolist() == [-1] * 12
    assert data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.classes == ("rose", "tulip")
    assert sorted(data.ids.tolist()) == sorted(f"{i}.png" for i in range(12))


def test_without_any_test_set_training_goes_on_and_nothing_is_measured(photos, tmp_path):
    with pytest.warns(UserWarning, match="no test set, so nothing can be measured"):
        data = image_folder(
            str(photos), unlabeled=str(photos / "unlabeled"), classes=["oak", "elm"], size=16,
            cache=str(tmp_path / "cache"),
        )  # fmt: skip
    learner = InMemoryLearner(
        Fitter(data, small_cnn, {"accelerator": "cpu"}), TrainingConfig(steps=3)
    )
    labels = np.array([0, 1] * 6)
    info = learner.fit(np.arange(6), labels, seed=(0,)).info
    assert info["training"]["half"] is None
    assert np.isnan(learner.test()["accuracy"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unlabeled": "unlabeled"}, "classes: an unlabeled pool needs the names"),
        ({"unlabeled": "nowhere", "classes": ["rose", "tulip"]}, "no such folder .data.unlabeled"),
        ({"classes": ["rose", "tulip"]}, "for an unlabeled pool only"),
    ],
)
def test_wrong_unlabeled_pools_are_named(photos, options, words):
    if "unlabeled" in options:
        options = {**options, "unlabeled": str(photos / options["unlabeled"])}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        image_folder(str(photos), **options)


def table(photos, **columns):
    names = [f"unlabeled/{i}.png" for i in range(12)]
    rows = pd.DataFrame({"path": names, **columns})
    rows.to_csv(photos / "t.csv", index=False)
    return photos / "t.csv"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_splits_and_empty_labels(photos, tmp_path, kind):
    label = ["a", "b", "", "", "a", "b", "a", "b", "a", "b", "a", "b"]
    path = table(photos, label=label, split=["train"] * 8 + ["val"] * 4)
    if kind == "parquet":
        rows = pd.read_csv(path)
        path = photos / "t.parquet"
        rows.to_parquet(path)
    data = image_table(str(path), size=16, cache=str(tmp_path / "cache"))
    assert data.labels.tolist() == [0, 1, -1, -1, 0, 1, 0, 1]
    assert data.test_labels.tolist() == [0, 1, 0, 1]
    assert data.ids.tolist() == [f"unlabeled/{i}.png" for i in range(8)]


def test_groups_of_a_table_stay_together(photos, tmp_path):
    group = [f"patient {i // 3}" for i in range(12)]
    path = table(photos, label=["a", "b"] * 6, group=group)
    data = image_table(str(path), size=16, test_share=0.5, cache=str(tmp_path / "cache"))
    pool = {group[int(n.split("/")[1][:-4])] for n in data.ids}
    assert 0 < len(data.test_labels) < 12
    assert len(data.labels) == 3 * len(pool)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"label": ["a", "b"] * 6}, {"classes": ["a", "c"]}, "row 3 has the label 'b', which is not in data.classes"),
        ({"label": ["a", "b"] * 6}, {"image": "file"}, "no column 'file'"),
        ({"label": [""] * 12}, {}, "at least two classes"),
        ({"label": ["a", "b"] * 5 + ["", ""], "split": ["train"] * 10 + ["test"] * 2}, {}, "row 12 is of the test set and has no label"),
        ({"label": ["a", "b"] * 6, "split": ["train", "test"] * 6, "group": ["g"] * 12}, {}, "1 groups are in the pool and in the test set, first 'g'"),
        ({"label": ["a", "b"] * 6}, {"root": "/nowhere"}, "12 of 12 images are not there"),
    ],
)  # fmt: skip
def test_wrong_tables_are_named(photos, columns, options, words):
    path = table(photos, **columns)
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=words):
        image_table(str(path), **options)


def project(photos, **options):
    return ImageFolderData(
        str(photos / "pool"), test=str(photos / "pool"), size=32, workers=0, batch_size=4, **options
    )


@pytest.fixture
def folders(tmp_path):
    for i in range(10):
        photo(tmp_path / "pool" / "dark" / f"{i}.png", 5 * i, (30 + i, 40))
        photo(tmp_path / "pool" / "light" / "deep" / f"{i}.png", 180 + 5 * i, (50, 36 + i))
    return tmp_path


def test_images_of_any_shape_on_demand_in_the_loops(folders, tmp_path):
    pl.seed_everything(0, verbose=False)
    run = coreset.trainers.active(
        LitImages("mobilenetv3_small_050", 2), project(folders, mixup=0.2), strategy="margin",
        budget=[6, 12], trainer={"accelerator": "cpu", "max_epochs": 1}, baseline=(),
        folder=tmp_path / "run",
    )  # fmt: skip
    assert run.curve.metric == "test_accuracy"
    assert len(run.selection.indices) == 12


def test_the_users_own_pipelines_and_the_plain_view(folders):
    flip = v2.RandomHorizontalFlip(1.0)
    data = project(
        folders, train_transform=[v2.Resize((8, 8)), flip], view_transform=[v2.Resize((8, 8))]
    )
    learner = LightningLearner(LitImages("mobilenetv3_small_050", 2), data, {"accelerator": "cpu", "max_epochs": 1})  # fmt: skip
    assert learner.ids.tolist()[9:11] == ["dark/9.png", "light/deep/0.png"]
    assert learner.known_labels.tolist() == [0] * 10 + [1] * 10
    train, view = learner.pool.train[3][0], learner.pool.view[3][0]
    torch.testing.assert_close(train, view.flip(2))


def test_one_unreadable_image_among_many(folders):
    (folders / "pool" / "dark" / "5.png").write_bytes(b"no image")
    plain = v2.Compose([v2.Resize((8, 8)), v2.ToImage()])
    with pytest.raises(ValueError, match=r"dark/5.png cannot be read: .* or set on_corrupt=skip"):
        ImageFiles(folders / "pool", plain)[5]
    with pytest.warns(UserWarning, match="gray image stands for it"):
        image, label = ImageFiles(folders / "pool", plain, on_corrupt="skip")[5]
    assert (image == 128).all()
    assert label == 0


def test_an_unlabeled_pool_on_demand_takes_labels_from_outside(folders):
    data = ImageFolderData(
        "", unlabeled=str(folders / "pool"), classes=["dark", "light"], size=32, workers=0, batch_size=4
    )  # fmt: skip
    learner = LightningLearner(
        LitImages("mobilenetv3_small_050", 2), data, {"accelerator": "cpu", "max_epochs": 1}
    )
    assert learner.known_labels.tolist() == [-1] * 20
    assert learner.classes == ("dark", "light")
    labels = np.full(20, -1)
    labels[[3, 15]] = [0, 1]
    own = learner._own_labels(np.array([3, 15]), labels)
    assert own.tolist() == [0, 1]
