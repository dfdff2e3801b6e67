import numpy as np
import pytest

from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.vision import Detections, aggregate, box_scores, select, simulate

N = 60
IDS = np.arange(N) + 1000
TRUTH = {int(k): int(k) % 4 for k in IDS}


def metric(model):
    return len(set(model["labels"])) / 4


def fit(ids, labels):
    return {"ids": list(ids), "labels": list(labels)}


def oracle(ids):
    return [TRUTH[int(k)] for k in ids]


def predict(model, ids):
    rng = np.random.default_rng(len(model["ids"]))
    return {"margin_column": rng.uniform(size=len(ids)), "features": rng.normal(size=(len(ids), 3))}


def test_a_curve_around_any_trainer():
    seen = []

    def watch(ids, labels):
        seen.append([int(i) for i in ids])
        assert labels == [TRUTH[int(i)] for i in ids]
        return fit(ids, labels)

    curve = simulate(
        Pool(N, [3], ids=IDS),
        oracle,
        watch,
        predict,
        metric=metric,
        budget=[4, 10, 0.5],
        choose="kcenter",
        seed=1,
        metric_name="mIoU",
    )
    assert [p.labels for p in curve.points] == [4, 10, 30]
    assert [p.share for p in curve.points] == [4 / N, 10 / N, 0.5]
    assert curve.points[0].value == len({i % 4 for i in seen[0]}) / 4
    assert (curve.strategy, curve.seed, curve.metric) == ("kcenter", 1, "mIoU")
    assert [len(s) for s in seen] == [4, 10, 30]
    assert seen[0][0] == 1003
    assert all(
        b[: len(a)] == a and len(set(b)) == len(b) for a, b in zip(seen, seen[1:], strict=False)
    )


def test_the_start_is_the_same_for_every_strategy_and_every_arrangement():
    starts = []
    for order in (np.arange(N), np.random.default_rng(0).permutation(N)):
        for choose in ("random", "kcenter"):
            simulate(
                Pool(N, ids=IDS[order]),
                oracle,
                lambda ids, labels: starts.append(set(ids[:5].tolist())) or fit(ids, labels),
                predict,
                metric=metric,
                budget=[5, 9],
                choose=choose,
            )
    assert starts[0] == starts[2] == starts[4] == starts[6]


def test_any_choice_of_yours_with_detections():
    def find(model, ids):
        rng = np.random.default_rng(len(model["ids"]))
        return Detections(
            ids,
            np.arange(len(ids)),
            np.tile([0.0, 0, 9, 9], (len(ids), 1)),
            rng.uniform(size=len(ids)),
            np.ones(len(ids)),
        )

    def uncertain(pool, detections, k, seed):
        detections = detections.align(pool)
        u = aggregate(
            detections,
            box_scores(detections, "binary_entropy"),
            "max",
            score_threshold=0,
            min_size=0,
            empty="quota:0.05",
        )
        return select(pool, k, scores=u, seed=seed)

    curve = simulate(
        Pool(N, ids=IDS), oracle, fit, find, metric=metric, budget=[4, 8, 20], choose=uncertain
    )
    assert [p.labels for p in curve.points] == [4, 8, 20]
    assert curve.strategy == "uncertain"


def test_what_a_choice_must_not_do():
    def run(choose, **more):
        return simulate(
            Pool(N, [0], ids=IDS),
            oracle,
            fit,
            predict,
            **{"metric": metric, "budget": [3, 5], "choose": choose, **more},
        )

    with pytest.raises(
        ValueError, match=r"choose returned 1 images \(1 distinct\), expected 2 candidates"
    ):
        run(lambda pool, _, k, seed: Selection(pool.candidates[:1]))
    with pytest.raises(ValueError, match="expected 2 candidates"):
        run(lambda pool, _, k, seed: Selection(pool.selected[:2]))
    with pytest.raises(ValueError, match="totals must grow"):
        run("random", budget=[5, 3])
    with pytest.raises(ValueError, match="the first total 1 is less than the 2 images"):
        simulate(Pool(N, [0, 1], ids=IDS), oracle, fit, predict, metric=metric, budget=[1, 3])
    with pytest.raises(
        ValueError, match="round 0: the metric of a model trained on 3 images is nan"
    ):
        run("random", metric=lambda model: float("nan"))
    with pytest.raises(KeyError, match="signal 'probs' is missing"):
        run("margin")
