import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.trainers.data.batches import EvalBatches, TrainStream, as_channels, prepare

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def stream(indices, **options):
    return TrainStream(
        IMAGES, LABELS, np.array(indices), **{"steps": 7, "batch_size": 8, "seed": 1, **options}
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 30))
def test_every_example_comes_once_an_epoch(n, size, steps):
    seen = {}
    batches = list(stream(range(n), steps=steps, batch_size=size))
    assert len(batches) == steps
    for b in batches:
        seen.setdefault(int(b["epoch"]), []).extend(b["index"].tolist())
        assert n == 1 or size == 1 or len(b["index"]) > 1
    for epoch, rows in seen.items():
        assert len(rows) == len(set(rows))
        if epoch < max(seen):
            assert sorted(rows) == list(range(n))


def test_order_depends_on_the_seed_alone():
    one, two, other = ([b["index"].tolist() for b in stream(range(20), seed=s)] for s in (3, 3, 4))
    assert one == two != other


def test_rows_are_aligned_and_weights_have_mean_one():
    weights = np.array([1.0, 3.0, 0.0, 4.0])
    rows = np.array([9, 2, 30, 7])
    batch = next(
        iter(TrainStream(IMAGES, LABELS, rows, steps=1, batch_size=4, seed=0, weights=weights))
    )
    place = {int(r): i for i, r in enumerate(rows)}
    for i, row in enumerate(batch["index"].tolist()):
        assert np.array_equal(batch["image"][i].numpy(), IMAGES[row])
        assert int(batch["label"][i]) == LABELS[row]
        assert float(batch["weight"][i]) == pytest.approx(weights[place[row]] / 2)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="indices"):
        stream([])
    with pytest.raises(ValueError, match="weights"):
        stream([1, 2], weights=np.zeros(2))


def test_prepare_matches_a_plain_loop():
    mean, std = as_channels((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    batch = next(iter(stream(range(16), batch_size=16, augment="crop_flip")))
    got = prepare(batch, mean, std).numpy()
    pad = 1
    for i in range(16):
        big = np.zeros((10, 10, 3))
        big[pad:-pad, pad:-pad] = batch["image"][i].numpy()
        r, c = batch["shift"][i].tolist()
        crop = big[r : r + 8, c : c + 8]
        if batch["flip"][i]:
            crop = crop[:, ::-1]
        want = (crop.transpose(2, 0, 1) / 255 - mean.numpy()[0]) / std.numpy()[0]
        np.testing.assert_allclose(got[i], want, atol=1e-5)


def test_augmentation_none_leaves_images_alone():
    batch = next(iter(stream(range(4), batch_size=4)))
    assert "shift" not in batch
    got = prepare(batch, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    want = IMAGES[batch["index"].numpy()].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6)


def test_eval_batches_come_in_order():
    rows = np.array([5, 1, 30])
    batches = list(EvalBatches(IMAGES, LABELS, rows, batch_size=2))
    assert len(batches) == len(EvalBatches(IMAGES, LABELS, rows, batch_size=2)) == 2
    assert torch.cat([b["index"] for b in batches]).tolist() == rows.tolist()
    assert torch.cat([b["label"] for b in EvalBatches(IMAGES, None, rows)]).tolist() == [-1, -1, -1]
