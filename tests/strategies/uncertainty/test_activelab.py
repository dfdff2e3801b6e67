"""ActiveLab against loops written from the two papers; weights, temperature, consensus and score
are all computed anew.
"""

import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.uncertainty.activelab import active_lab
from coreset.strategies.uncertainty.crowd import (
    crowdlab,
    fitted_temperature,
    label_counts,
    majority,
)
from coreset.testing import check_strategy


def case(seed, n=50, blank=0.4):
    """Annotators of different skill, a classifier, some examples without any label."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(2, 7)), int(rng.integers(2, 6))
    truth, skill = rng.integers(0, k, n), rng.uniform(0.4, 1, m)
    labels = np.where(rng.random((n, m)) < skill, truth[:, None], rng.integers(0, k, (n, m)))
    labels[rng.random((n, m)) < blank] = -1
    labels[: n // 8] = -1
    z = rng.normal(size=(n, k)) + 2 * np.eye(k)[truth]
    e = np.exp(z)
    return labels, e / e.sum(axis=1, keepdims=True)


def temper(p, t):
    q = np.array([v ** (1 / t) for v in p])
    return q / q.sum()


def reference(labels, probs):
    """Return the scores of Goh & Mueller, equations 1 to 6, from dictionaries and loops."""
    n, classes = probs.shape
    given = [{j: int(y) for j, y in enumerate(row) if y >= 0} for row in labels]
    live = [i for i in range(n) if given[i]]
    several = [i for i in live if len(given[i]) > 1]
    if not several:
        temperature, model, weight = 1.0, 1.0, dict.fromkeys(range(labels.shape[1]), 1.0)
        quality = {i: probs[i, next(iter(given[i].values()))] for i in live}
    else:

        def loss(t):
            return sum(
                -np.mean([np.log(temper(probs[i], t)[y]) for y in given[i].values()]) for i in live
            )

        coarse = [0.1, 0.2, 0.5, 0.8, 1, 2, 3, 5, 8]
        at = min(range(9), key=lambda j: loss(coarse[j]))
        fine = (
            [coarse[at - 1] + s * (coarse[at] - coarse[at - 1]) / 4 for s in range(4)] if at else []
        )
        fine += (
            [coarse[at] + s * (coarse[at + 1] - coarse[at]) / 4 for s in range(5)] if at < 8 else []
        )
        temperature = min(fine, key=loss)
        p = np.array([temper(row, temperature) for row in probs])
        votes = {i: [list(given[i].values()).count(c) for c in range(classes)] for i in live}
        consensus = {i: max(range(classes), key=lambda c: (votes[i][c], p[i, c])) for i in live}
        for _ in range(2):  # by majority, then by the best of the weighted mean
            agree = {i: votes[i][consensus[i]] / len(given[i]) for i in live}
            likely = np.mean([agree[i] for i in several])
            commonest = max(
                range(classes), key=lambda c: (sum(consensus[i] == c for i in several), -c)
            )
            baseline = max(1e-6, np.mean([consensus[i] != commonest for i in several]))
            rate = {}
            for j in range(labels.shape[1]):
                pairs = [
                    given[i][j] == y
                    for i in several
                    if j in given[i]
                    for o, y in given[i].items()
                    if o != j
                ]
                if pairs:
                    rate[j] = np.mean(pairs)
            rate = {j: rate.get(j, np.mean(list(rate.values()))) for j in range(labels.shape[1])}
            weight = {j: max(1e-6, 1 - (1 - r) / baseline) for j, r in rate.items()}
            error = np.mean([np.argmax(p[i]) != consensus[i] for i in several])
            model = max(1e-6, 1 - error / baseline) * np.sqrt(
                np.mean([len(given[i]) for i in live])
            )
            posterior = {}
            for i in live:
                total = model * p[i]
                for j, y in given[i].items():
                    row = np.full(classes, (1 - likely) / (classes - 1))
                    row[y] = likely
                    total = total + weight[j] * row
                posterior[i] = total / (model + sum(weight[j] for j in given[i]))
            quality = {i: posterior[i][consensus[i]] for i in live}
            if _ == 0:
                consensus = {i: int(np.argmax(posterior[i])) for i in live}
    mean = np.mean(list(weight.values()))
    out = []
    for i in range(n):
        sure = quality[i] if i in quality else max(temper(probs[i], temperature))
        mine = model + sum(weight[j] for j in given[i])
        out.append((sure * mine + mean / classes) / (mine + mean))
    return np.array(out)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("blank", [0.1, 0.6])
def test_against_the_papers(seed, blank):
    labels, probs = case(seed, blank=blank)
    want = reference(labels, probs)
    np.testing.assert_allclose(active_lab(labels, probs), want, rtol=1e-9)
    got = select("activelab", 20, annotator_labels=labels, probs=probs)
    assert got.indices.tolist() == np.argsort(want, kind="stable")[:20].tolist()
    np.testing.assert_allclose(got.scores, 1 - want[got.indices], rtol=1e-9)


def test_one_label_each_and_none_at_all():
    _, probs = case(3)
    labels = np.full((50, 3), -1)
    np.testing.assert_allclose(
        active_lab(labels, probs), (probs.max(axis=1) + 1 / probs.shape[1]) / 2
    )
    labels[np.arange(10, 50), np.arange(40) % 3] = np.arange(40) % 2
    np.testing.assert_allclose(active_lab(labels, probs), reference(labels, probs), rtol=1e-12)


def test_the_temperature_reads_which_class_was_given():
    """Labels that agree with sure probabilities sharpen them; counted in the wrong classes they
    would flatten them.
    """
    probs = np.where(np.eye(4)[np.arange(40) % 4] > 0, 0.7, 0.1)
    labels = np.repeat((np.arange(40) % 4)[:, None], 3, axis=1)
    assert fitted_temperature(label_counts(labels, 4), probs) < 0.5
    assert fitted_temperature(label_counts((labels + 1) % 4, 4), probs) > 5


def test_ties_of_the_majority_go_down_the_list():
    even = np.array([[0.5, 0.5], [0.5, 0.5], [0.4, 0.6]])
    labels = np.array([[0, 1, -1], [0, 0, 0], [0, 1, -1]])
    # the first tie: class 1 was given less often in all; the second: the classifier holds 1
    # likelier
    assert majority(labels, label_counts(labels, 2), even).tolist() == [1, 0, 1]
    labels = np.array(
        [[1, 0, -1, -1], [0, -1, 0, 1], [1, -1, 1, 0], [1, 0, -1, -1], [1, 1, 1, 1], [0, 0, 0, 0]]
    )
    flat = np.full((6, 2), 0.5)
    assert label_counts(labels, 2).sum(axis=0).tolist() == [9, 9]
    # annotator 0 is right with every clear majority (4 of 4), annotator 1 as well (2 of 2): the
    # lowest class
    assert majority(labels, label_counts(labels, 2), flat)[[0, 3]].tolist() == [0, 0]
    labels[4, 1], labels[5, 3] = 0, 1  # annotator 1 is wrong once, counts stay even
    assert majority(labels, label_counts(labels, 2), flat)[[0, 3]].tolist() == [1, 1]


def test_labels_of_what_is_selected_count_for_the_weights():
    labels, probs = case(1)
    done = np.arange(30, 50)
    got = select("activelab", 5, annotator_labels=labels, probs=probs, selected=done)
    want = reference(labels, probs)
    assert got.indices.tolist() == np.argsort(want[:30], kind="stable")[:5].tolist()
    assert not np.allclose(reference(labels[:30], probs[:30])[got.indices], want[got.indices])


def test_an_example_to_label_again_comes_before_a_sure_new_one():
    labels = np.array(
        [[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [-1, -1, -1, -1]]
        + [[i % 2] * 4 for i in range(20)]
    )
    probs = np.array(
        [[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.97, 0.03]]
        + [[0.9 - 0.8 * (i % 2), 0.1 + 0.8 * (i % 2)] for i in range(20)]
    )
    assert select("activelab", 1, annotator_labels=labels, probs=probs).indices.tolist() == [0]


def test_contract_and_refusals():
    rng = np.random.default_rng(0)
    labels, z = rng.integers(-1, 4, (48, 3)), rng.normal(size=(48, 4))
    probs = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    check_strategy(strategy("activelab"), {"annotator_labels": labels, "probs": probs})

    def ask(labels, probs=probs):
        n = len(labels)
        return strategy("activelab")(
            Pool(n), Signals(n, annotator_labels=labels, probs=probs), 1, rng
        )

    with pytest.raises(
        ValueError, match=r"annotator_labels: expected classes 0..3, as probs has, or -1, got -1..4"
    ):
        ask(np.where(labels == 3, 4, labels))
    with pytest.raises(ValueError, match=r"annotator_labels: expected whole numbers .* float64"):
        ask(labels.astype(float))
    with pytest.raises(ValueError, match="probs: a consensus needs at least two classes"):
        ask(np.zeros((48, 2), int), np.ones((48, 1)))
    with pytest.raises(ValueError, match="labels: 2 of 48 examples have no label"):
        crowdlab(np.where(np.arange(48)[:, None] < 2, -1, 0) * np.ones((48, 3), int), probs)
