"""Streams of the `datasets` library itself, offline: read once into shards, then by position."""

import json
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    datasets = pytest.importorskip(
        "datasets", reason='needs the extra hf: pip install "coreset-lightning[hf]"'
    )

from coreset.trainers.data import streamed
from coreset.trainers.data.hugging_face import hf_dataset
from coreset.trainers.data.on_demand import StreamedData
from coreset.trainers.learners.images import LitImages
from coreset.trainers.learners.lightning import LightningLearner
from tests.trainers.data.photos import pieces

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of photographs, 24 to train and 8 to test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for i, (content, suffix, label) in enumerate(pieces(32)):
        part = tmp_path / "pets" / ("train" if i < 24 else "test") / ("cat", "coffee")[label]
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{i:02d}.{suffix}").write_bytes(content)
    return tmp_path / "pets"


def load(folder, cache, **options):
    return hf_dataset(str(folder), size=16, cache=str(cache), **options)


def test_a_stream_gives_what_the_whole_data_set_gives(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "ROWS", 10)
    whole, data = load(folder, tmp_path / "a"), load(folder, tmp_path / "b", streaming=True)
    assert data.classes == whole.classes == ("cat", "coffee")
    for name in ("labels", "ids", "test_labels"):
        np.testing.assert_array_equal(getattr(data, name), getattr(whole, name))
    png = [i for i in range(24) if i // 2 % 2 == 0]  # JPEG is decoded at a smaller scale here
    order = np.argsort([f"{i % 2}{i:02d}" for i in range(24)])  # as the folders have them
    same = [k for k, i in enumerate(order) if i in png]
    np.testing.assert_array_equal(data.images[same], whole.images[same])
    apart = np.abs(data.images.astype(float) - whole.images).mean(axis=(1, 2, 3))
    assert apart.max() < 6
    assert data.ids.tolist() == list(range(24))
    assert len(list((tmp_path / "b").glob("stream-*/*.tar"))) == 3 + 1


def test_a_stream_that_breaks_off_goes_on_with_the_next_row(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "ROWS", 5)
    kept, read = streamed._bytes, []

    def breaks(value, name):
        read.append(name)
        if len(read) == 13:
            raise ConnectionError("the network is away")
        return kept(value, name)

    monkeypatch.setattr(streamed, "_bytes", breaks)
    with pytest.raises(ConnectionError):
        streamed.stream(str(folder), "train", "image", "label", tmp_path / "c")
    (path,) = (tmp_path / "c").glob("stream-*")
    assert json.loads((path / "state.json").read_text())["rows"] == 10
    assert streamed.stream(str(folder), "train", "image", "label", tmp_path / "c") == path
    assert read[13] == "000000010"  # the rows of whole shards are not read again
    other = streamed.stream(str(folder), "train", "image", "label", tmp_path / "d")
    tars = [[p.read_bytes() for p in sorted(f.glob("*.tar"))] for f in (path, other)]
    assert tars[0] == tars[1]
    count = len(read)
    streamed.stream(str(folder), "train", "image", "label", tmp_path / "c")
    assert len(read) == count


def test_a_file_that_changes_is_streamed_anew(folder, tmp_path):
    first = load(folder, tmp_path / "c", streaming=True, test=None)
    assert len(first.images) + len(first.test_images) == 24
    file = next((folder / "train" / "cat").glob("*.png"))
    file.write_bytes(pieces(1, seed=9)[0][0])
    again = load(folder, tmp_path / "c", streaming=True, test=None)
    assert again.fingerprint != first.fingerprint
    assert len(list((tmp_path / "c").glob("stream-*"))) == 2


def test_wrong_splits_columns_and_places_are_named(folder, tmp_path):
    with pytest.raises(KeyError, match=r"no split 'dev'; present: .*train"):
        load(folder, tmp_path / "c", streaming=True, train="dev")
    with pytest.raises(KeyError, match="no column 'kind'; present: image, label"):
        load(folder, tmp_path / "c", streaming=True, label="kind")
    datasets.load_dataset(str(folder)).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"rows are there by position; leave data.streaming out"):
        load(tmp_path / "saved", tmp_path / "c", streaming=True)
    with pytest.raises(TypeError, match="expected whole numbers, got 'cat' in row 3"):
        streamed._number("cat", "label", "000000003")
    assert streamed._number(None, "label", "0") == -1
    assert streamed._number(np.int64(2), "label", "0") == 2


def test_a_stream_is_decoded_on_demand_for_a_module_of_ones_own(folder, tmp_path, monkeypatch):
    data = StreamedData(str(folder), cache=str(tmp_path / "c"), size=16, workers=0, batch_size=4)
    learner = LightningLearner(LitImages("mobilenetv3_small_050", 2), data, {"accelerator": "cpu", "max_epochs": 1})  # fmt: skip
    assert learner.classes == ("cat", "coffee")
    assert learner.known_labels.tolist() == [0] * 12 + [1] * 12  # in the order of the stream
    assert learner.ids.tolist()[23] == "000000.tar/000000023"
    assert learner.pool.view[5][0].shape == (3, 16, 16)
    monkeypatch.setattr(streamed, "_bytes", None)  # nothing is read twice
    data.prepare_data()
    assert len(StreamedData(str(folder), cache=str(tmp_path / "c")).splits) == 2
