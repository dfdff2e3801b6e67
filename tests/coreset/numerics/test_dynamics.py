"""Every statistic against plain numpy on the full traces, and resume against an uninterrupted run."""

import numpy as np
import pytest
import torch

from coreset.numerics.dynamics import STATISTICS, TRACES, DynamicsRecorder

N, C, E = 23, 5, 17
OPTIONS = {
    "window": 4,
    "el2n_epochs": 6,
    "dual_epochs": 9,
    "tdds_epochs": 13,
    "tdds_window": 5,
    "tdds_decay": 0.9,
}


def trajectory(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, N)
    base = rng.normal(size=(N, C))
    logits = np.stack(
        [base + 0.15 * e * np.eye(C)[labels] + rng.normal(size=(N, C)) for e in range(E)]
    )
    logits[:, 0, labels[0]] = -9.0  # never learned
    logits[:, 1, labels[1]] = 9.0  # never forgotten
    return logits, labels


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def record(recorder, logits, labels, epochs, seed=1, batch=7):
    for e in epochs:
        order = np.random.default_rng((seed, e)).permutation(N)
        for start in range(0, N, batch):
            part = order[start : start + batch]
            recorder.update(
                torch.tensor(part), torch.tensor(logits[e, part]), torch.tensor(labels[part]), e
            )
    return recorder


def reference(logits, labels, decay=0.9, probs=None):
    """Plain loops over the full traces, from the papers' formulas."""
    probs = softmax(logits) if probs is None else probs
    out = {n: np.zeros(N) for n in STATISTICS}
    for i in range(N):
        y = labels[i]
        z, p = logits[:, i], probs[:, i]
        right = z.argmax(1) == y
        events = sum(right[t] and not right[t + 1] for t in range(E - 1))
        out["forgetting"][i] = events if right.any() else E + 1
        others = [c for c in range(C) if c != y]
        out["aum"][i] = np.mean([z[t, y] - max(z[t, c] for c in others) for t in range(E)])
        out["aum_probs"][i] = np.mean([p[t, y] - max(p[t, c] for c in others) for t in range(E)])
        out["el2n"][i] = np.mean([np.sqrt(((p[t] - np.eye(C)[y]) ** 2).sum()) for t in range(6)])
        py = p[:, y]
        out["memorization"][i] = np.mean(-np.log(py))
        windows = [py[t : t + 4] for t in range(E - 4 + 1)]
        out["dyn_unc"][i] = np.mean([10 * np.std(w, ddof=1) for w in windows[:-1]])
        out["dyn_unc_all"][i] = np.mean([10 * np.std(w, ddof=1) for w in windows])
        early = [py[:9][t : t + 4] for t in range(9 - 4 + 1)]
        out["dual"][i] = np.mean([10 * np.std(w, ddof=1) * (1 - w.mean()) for w in early])
        out["mean_prob"][i] = py[:9].mean()
        T, J, beta = 13, 5, decay
        for k in range(T - J + 1):
            d = np.array(
                [
                    np.abs(
                        p[k + j + 1] * (np.log(p[k + j + 1] + 1e-8) - np.log(p[k + j] + 1e-8))
                    ).sum()
                    for j in range(J - 1)
                ]
            )
            out["tdds"][i] += beta * (1 - beta) ** (T - J - k) * np.linalg.norm(d - d.mean())
    out["true_probs"] = np.stack([[probs[e, i, labels[i]] for e in range(E)] for i in range(N)])
    out["losses"] = -np.log(out["true_probs"])
    out["margins"] = np.array(
        [
            [logits[e, i, labels[i]] - np.delete(logits[e, i], labels[i]).max() for e in range(E)]
            for i in range(N)
        ]
    )
    return out


def test_every_statistic_is_its_definition():
    logits, labels = trajectory()
    got = record(
        DynamicsRecorder(N, [*STATISTICS, *TRACES], **OPTIONS), logits, labels, range(E)
    ).finish()
    want = reference(logits, labels)
    assert set(got) == set(want)
    for name in want:
        tolerance = 1e-5 if name in (*TRACES, "tdds") else 1e-12
        np.testing.assert_allclose(
            got[name], want[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize("decay", [0.05, 0.5, 1.0])
def test_every_window_of_tdds_counts_by_its_decay(decay):
    """With 0.9 the first windows are lost in the last digits; a slow decay shows each of them."""
    logits, labels = trajectory(2)
    recorder = DynamicsRecorder(N, ["tdds"], **{**OPTIONS, "tdds_decay": decay})
    got = record(recorder, logits, labels, range(E)).finish()["tdds"]
    np.testing.assert_allclose(got, reference(logits, labels, decay)["tdds"], rtol=1e-5, atol=1e-6)
    one = DynamicsRecorder(N, ["tdds"], tdds_window=5, tdds_decay=decay)  # a single window
    d = np.array(
        [
            np.abs(b * (np.log(b + 1e-8) - np.log(a + 1e-8))).sum(axis=1)
            for a, b in zip(softmax(logits)[:4], softmax(logits)[1:5], strict=True)
        ]
    )
    np.testing.assert_allclose(
        record(one, logits, labels, range(5)).finish()["tdds"],
        decay * np.linalg.norm(d - d.mean(axis=0), axis=0),
        rtol=1e-5,
        atol=1e-6,
    )


def test_saturated_probabilities():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    p = np.eye(C)[rng.integers(0, C, (E, N))]
    recorder = DynamicsRecorder(N, ["tdds", "memorization", "dyn_unc"], kind="probs", **OPTIONS)
    for e in range(E):
        recorder.update(range(N), p[e], labels, e)
    got = recorder.finish()
    with np.errstate(divide="ignore"):
        want = reference(np.log(p + 1e-300), labels, probs=p)
    np.testing.assert_allclose(got["tdds"], want["tdds"], rtol=1e-5)
    np.testing.assert_allclose(got["dyn_unc"], want["dyn_unc"], rtol=1e-12)
    true = np.take_along_axis(p, np.tile(labels[None, :, None], (E, 1, 1)), axis=2)[..., 0]
    np.testing.assert_allclose(got["memorization"], (-np.log(true.clip(1e-12))).mean(axis=0))


def test_dual_comes_with_the_mean_that_its_sampling_reads():
    logits, labels = trajectory()
    got = record(
        DynamicsRecorder(N, ["dual"], window=4, dual_epochs=9), logits, labels, range(E)
    ).finish()
    assert set(got) == {"dual", "mean_prob"}
    np.testing.assert_allclose(got["mean_prob"], reference(logits, labels)["mean_prob"])


def test_never_learned_stands_above_every_count():
    logits, labels = trajectory()
    got = record(DynamicsRecorder(N, ["forgetting"]), logits, labels, range(E)).finish()[
        "forgetting"
    ]
    assert got[0] == E + 1
    assert got[1] == 0
    learned = (logits.argmax(-1) == labels).any(0)
    assert got[learned].max() <= E // 2
    assert (got[~learned] == E + 1).all()


def test_resume_is_the_uninterrupted_run_bit_for_bit():
    logits, labels = trajectory(3)
    whole = record(
        DynamicsRecorder(N, [*STATISTICS, *TRACES], **OPTIONS), logits, labels, range(E)
    ).finish()
    first = record(DynamicsRecorder(N, [*STATISTICS, *TRACES], **OPTIONS), logits, labels, range(8))
    saved = first.state_dict()
    # what goes on after saving does not change what was saved
    record(first, logits, labels, range(8, 10))
    second = DynamicsRecorder(N, [*STATISTICS, *TRACES], **OPTIONS)
    second.load_state_dict(saved)
    again = record(second, logits, labels, range(8, E)).finish()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


def test_state_survives_torch_save(tmp_path):
    logits, labels = trajectory()
    recorder = record(DynamicsRecorder(N, STATISTICS, **OPTIONS), logits, labels, range(6))
    torch.save(recorder.state_dict(), tmp_path / "state.pt")
    other = DynamicsRecorder(N, STATISTICS, **OPTIONS)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for name, values in recorder.finish().items():
        np.testing.assert_array_equal(values, other.finish()[name])


def test_batches_and_repeats_do_not_matter():
    logits, labels = trajectory()
    one = record(
        DynamicsRecorder(N, STATISTICS, **OPTIONS), logits, labels, range(E), batch=N
    ).finish()
    many = DynamicsRecorder(N, STATISTICS, **OPTIONS)
    for e in range(E):
        for part in (np.arange(0, 12), np.r_[5:N, 5, 6], np.arange(N)):  # padded and replayed
            many.update(part, logits[e, part], labels[part], e)
    for name, values in many.finish().items():
        np.testing.assert_allclose(values, one[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_probabilities_give_what_logits_give():
    logits, labels = trajectory()
    names = [n for n in STATISTICS if n != "aum"]
    a = record(DynamicsRecorder(N, names, **OPTIONS), logits, labels, range(E)).finish()
    b = record(
        DynamicsRecorder(N, names, kind="probs", **OPTIONS), softmax(logits), labels, range(E)
    ).finish()
    for name in names:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_too_few_sightings_is_nan_and_only_there():
    logits, labels = trajectory()
    recorder = DynamicsRecorder(N, [*STATISTICS, "true_probs"], **OPTIONS)
    for e in range(E):
        # 0 and 1 are seen three times, the last one never
        part = np.arange(2 if e >= 3 else 0, N - 1)
        recorder.update(part, logits[e, part], labels[part], e)
    got = recorder.finish()
    for name in STATISTICS:
        windowed = name in ("dyn_unc", "dyn_unc_all", "dual", "tdds")
        assert np.isnan(got[name][:2]).all() == windowed, name
        assert np.isnan(got[name][-1]), name
        assert np.isfinite(got[name][2:-1]).all(), name
    assert np.isnan(got["true_probs"][0, 3:]).all()
    assert np.isfinite(got["true_probs"][0, :3]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_on_a_tensor_that_needs_gradients(dtype):
    logits, labels = trajectory()
    z = torch.tensor(logits).to(dtype)
    recorder = DynamicsRecorder(N, STATISTICS, **OPTIONS)
    for e in range(E):
        recorder.update(torch.arange(N), z[e].requires_grad_(), torch.tensor(labels), e)
    want = reference(z.detach().double().numpy(), labels)
    for name, values in recorder.finish().items():
        np.testing.assert_allclose(values, want[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_refusals():
    with pytest.raises(ValueError, match=r"unknown \['aumm'\]"):
        DynamicsRecorder(3, ["aumm"])
    with pytest.raises(ValueError, match="aum: is defined on logits"):
        DynamicsRecorder(3, ["aum"], kind="probs")
    with pytest.raises(ValueError, match="kind: expected logits or probs"):
        DynamicsRecorder(3, kind="margin")
    with pytest.raises(ValueError, match="window=1"):
        DynamicsRecorder(3, window=1)
    for bad in ({"el2n_epochs": 0}, {"dual_epochs": 9}, {"tdds_epochs": 9}):
        with pytest.raises(ValueError, match="epochs: expected"):
            DynamicsRecorder(3, **bad)
    with pytest.raises(ValueError, match="tdds_decay"):
        DynamicsRecorder(3, tdds_decay=0.0)
    r = DynamicsRecorder(3)
    with pytest.raises(ValueError, match=r"positions in 0\.\.2, got 3\.\.3"):
        r.update([3], [[0.0, 1.0]], [0], 0)
    with pytest.raises(ValueError, match="labels: expected classes"):
        r.update([0], [[0.0, 1.0]], [-1], 0)
    with pytest.raises(
        ValueError, match=r"labels: expected classes in 0\.\.1 of at least 2, got -1\.\.1"
    ):
        r.update([0, 1], [[0.0, 1.0]] * 2, [1, -1], 0)
    with pytest.raises(ValueError, match="NaN or infinite values in epoch 2"):
        r.update([0], [[0.0, np.nan]], [0], 2)
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2,\)"):
        r.update([0], [[0.0, 1.0]], [0, 1], 0)
    with pytest.raises(ValueError, match="size: this recorder has 3 but the saved state 4"):
        r.load_state_dict(DynamicsRecorder(4).state_dict())
    with pytest.raises(ValueError, match="statistics: this recorder has"):
        r.load_state_dict(DynamicsRecorder(3, ["aum"]).state_dict())
    with pytest.raises(ValueError, match="options: this recorder has"):
        r.load_state_dict(DynamicsRecorder(3, window=5).state_dict())
    r.update([], np.zeros((0, 2)), [], 0)
    assert np.isnan(r.finish()["forgetting"]).all()
