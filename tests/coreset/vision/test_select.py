import numpy as np
import pytest

import coreset
from coreset.core.pool import Pool
from coreset.vision import BoxSets, Detections, ImageScores, dcus, select
from coreset.vision.medoids import farthest_first, k_medoids

IDS = np.array([101, 102, 103, 104, 105, 106])
POOL = Pool(6, selected=[0], ids=IDS)
NAN = np.nan


def scores(values, empty="exclude", ids=IDS):
    return ImageScores(ids, np.array(values, float), empty)


def test_the_highest_first_by_id_whatever_the_order_of_the_scores():
    got = select(POOL, 3, scores=scores([9, 0.1, 0.5, 0.3, 0.5, 0.2]))
    assert got.ids.tolist() == [103, 105, 104]
    assert got.indices.tolist() == [2, 4, 3]
    assert got.scores.tolist() == [0.5, 0.5, 0.3]
    assert got.reasons == ["chosen"] * 3
    again = select(POOL, 3, scores=scores([0.2, 0.5, 0.3, 0.5, 0.1, 9], ids=IDS[::-1]))
    assert again.ids.tolist() == got.ids.tolist()
    assert got.info["slack"] == {"images": 0}
    assert not got.info["short"]


@pytest.mark.parametrize(
    ("empty", "want"),
    [("last", [103, 102, 105, 104]), ("first", [104, 103, 102, 105]), ("exclude", [103, 102, 105])],
)
def test_empty_images_go_where_the_policy_says(empty, want):
    values = [9, 0.4, 0.5, NAN, 0.3, -2.0]
    pool = Pool(6, selected=[0], candidates=[1, 2, 3, 4], ids=IDS)
    assert select(pool, len(want), scores=scores(values, empty)).ids.tolist() == want


def test_a_share_of_empty_images_is_drawn_at_random():
    n = 200
    values = np.where(np.arange(n) % 2 == 0, NAN, np.arange(n))
    got = [
        select(Pool(n), 20, scores=ImageScores(np.arange(n), values, "quota:0.1"), seed=s)
        for s in range(3)
    ]
    for one in got:
        bare = [
            i for i, why in zip(one.indices.tolist(), one.reasons, strict=True) if why == "empty"
        ]
        assert len(bare) == 2
        assert all(i % 2 == 0 for i in bare)
        full = [i for i in one.indices.tolist() if i % 2]
        assert full == list(range(199, 163, -2))  # in order of the score
    # which empty ones is a matter of the seed
    assert len({tuple(one.indices.tolist()) for one in got}) == 3


def test_too_few_is_an_error_or_said():
    values = [9, 0.4, NAN, NAN, 0.3, NAN]
    with pytest.raises(
        ValueError,
        match=r"\{'images': 3\} asked for, but only 2 of 5 candidates can be had.*allow_short=True",
    ):
        select(POOL, 3, scores=scores(values))
    got = select(POOL, 3, scores=scores(values), allow_short=True)
    assert got.ids.tolist() == [102, 105]
    assert got.info["short"]
    assert got.info["slack"] == {"images": 1}
    with pytest.raises(ValueError, match="only 0 of 5"):
        select(POOL, 1, scores=scores([NAN] * 6), allow_short=True)
    with pytest.raises(ValueError, match="can be had, leaving {'boxes': 85"):
        select(POOL, {"boxes": 100}, "random", costs={"boxes": [5, 1, 2, 3, 4, 5]})
    assert not select(POOL, {"boxes": 15}, "random", costs={"boxes": [5, 1, 2, 3, 4, 5]}).info[
        "short"
    ]  # all of them, nothing left


def test_budgets_in_boxes_and_images_hold_together():
    cost = {"boxes": [1, 4, 3, 5, 1, 1]}
    ranked = scores([9, 0.9, 0.8, 0.7, 0.6, 0.5])
    got = select(POOL, {"boxes": 10}, scores=ranked, costs=cost)
    assert got.ids.tolist() == [102, 103]
    assert got.info["slack"] == {"boxes": 3}
    got = select(POOL, {"boxes": 10}, scores=ranked, costs=cost, fit="fill")
    assert got.ids.tolist() == [102, 103, 105, 106]
    assert got.info["slack"] == {"boxes": 1}
    got = select(POOL, {"boxes": 10, "images": 3}, scores=ranked, costs=cost, fit="fill")
    assert got.ids.tolist() == [102, 103, 105]
    assert got.info["cost"] == {"boxes": 8, "images": 3}
    with pytest.raises(KeyError, match="budget in seconds, but costs has only"):
        select(POOL, {"seconds": 10}, "random", costs=cost)


def test_an_image_that_fits_may_stand_anywhere_in_the_order():
    got = select(
        Pool(4),
        {"boxes": 2},
        scores=ImageScores(np.arange(4), np.array([4.0, 3, 2, 1]), "last"),
        costs={"boxes": [9, 9, 9, 2]},
        fit="fill",
    )
    assert got.indices.tolist() == [3]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "name", ["random", "kcenter", "kmeans", "random_stratified", "random_foreground"]
)
def test_no_strategy_overruns(seed, name):
    if name not in coreset.list_strategies() and not name.startswith("random"):
        pytest.skip(f"{name} is not registered here")
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 9, 60).astype(float)
    columns = {
        "features": rng.normal(size=(60, 3)),
        "foreground": rng.integers(0, 2, 60).astype(float),
    }
    got = select(
        Pool(60, [1, 2]),
        {"boxes": 50},
        name,
        columns=columns,
        classes=rng.integers(0, 3, 60),
        costs={"boxes": cost},
        seed=seed,
    )
    assert cost[got.indices].sum() <= 50
    assert got.info["slack"]["boxes"] == 50 - cost[got.indices].sum()
    assert len(np.unique(got.indices)) == len(got)
    assert not np.isin(got.indices, [1, 2]).any()


def test_shortlist_then_diversity_is_both_steps_by_hand():
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(50, 4)), rng.uniform(size=50)
    got = select(
        Pool(50, [3]),
        5,
        "kcenter",
        scores=ImageScores(np.arange(50), u, "last"),
        columns={"features": x},
        expand=3,
    )
    short = [i for i in sorted(range(50), key=lambda i: -u[i]) if i != 3][:15]
    taken = [3]
    for _ in range(5):
        taken.append(
            max(sorted(short), key=lambda i: min(np.linalg.norm(x[i] - x[j]) for j in taken))
        )
    assert got.indices.tolist() == taken[1:]
    assert got.info["parameters"]["second"].keys() == {"KCenterGreedy"}


def test_ppal_is_dcus_then_medoids_under_ccms():
    rng = np.random.default_rng(1)
    n = 300
    corner = rng.uniform(0, 50, (n, 2))
    detections = Detections(
        np.arange(60),
        np.sort(rng.integers(0, 55, n)),
        np.hstack([corner, corner + 20]),
        rng.uniform(0.1, 1, n),
        rng.integers(0, 3, n),
        features=rng.normal(size=(n, 5)),
    )
    sets = BoxSets.of(detections)
    ranked = dcus(detections, {0: 0.1, 1: 0.5, 2: 0.9}, empty="last")
    got = select(Pool(60, [7]), 6, "kmedoids", scores=ranked, distance=sets, expand=4, seed=3)
    short = np.array(
        sorted(
            [
                i
                for i in sorted(range(60), key=lambda i: -np.nan_to_num(ranked.values[i]))
                if i != 7
            ][:24]
        )
    )
    starts = [int(i) for i in short]
    options = []
    # the seed decides which candidate opens; every one of them leads to one set of medoids
    for first in starts:
        seeds, _ = farthest_first(sets, 6, short, np.empty(0, np.int64), first)
        options.append(set(k_medoids(sets, seeds, short)[0].tolist()))
    assert set(got.indices.tolist()) in options
    with pytest.raises(ValueError, match="distance goes with kcenter or kmedoids, got 'margin'"):
        select(Pool(60), 6, "margin", distance=sets)
    assert len(select(Pool(60, [7]), 6, "kcenter", distance=sets)) == 6


@pytest.mark.parametrize(
    ("balance", "want"),
    [
        ("uniform", {"1": 4, "2": 4, "3": 2}),  # class 3 has but two
        ("proportional", {"1": 6, "2": 3, "3": 1}),
        ({1: 1, 2: 4}, {"1": 2, "2": 8}),
        # 1/24 : 1/12, after class 3 has given its two
        ("inverse_frequency", {"1": 3, "2": 5, "3": 2}),
    ],
)
def test_quotas_by_predicted_class(balance, want):
    kinds = np.array([1] * 24 + [2] * 12 + [3] * 2)
    values = np.arange(38.0)
    got = select(
        Pool(38),
        10,
        scores=ImageScores(np.arange(38), values, "last"),
        balance=balance,
        classes=kinds,
    )
    assert {k: v for k, v in got.info["quota"].items() if v} == want
    for c, n in want.items():
        mine = [i for i in got.indices.tolist() if kinds[i] == int(c)]
        assert (
            mine == sorted(np.flatnonzero(kinds == int(c)).tolist(), key=lambda i: -values[i])[:n]
        )
    assert got.info["shortfall"] == (
        {"3": 1} if balance == "uniform" else {"3": 6} if balance == "inverse_frequency" else {}
    )


def test_caps_count_what_is_labeled_and_pass_over_full_groups():
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    ranked = scores([9, 0.9, 0.8, 0.7, 0.6, 0.5])
    got = select(POOL, 4, scores=ranked, groups=groups, max_per_group=2)
    assert got.ids.tolist() == [102, 104, 105, 106]  # one of `a` is labeled
    with pytest.raises(ValueError, match="only 4 of 5"):
        select(POOL, 5, scores=ranked, groups=groups, max_per_group=2)
    assert (
        len(select(POOL, 5, scores=ranked, groups=groups, max_per_group=2, allow_short=True)) == 4
    )
    with pytest.raises(ValueError, match="max_per_group: expected at least 1, and groups"):
        select(POOL, 2, scores=ranked, max_per_group=2)


def test_caps_with_a_greedy_strategy_are_the_greedy_under_the_caps():
    rng = np.random.default_rng(4)
    x, groups = rng.normal(size=(40, 2)), rng.integers(0, 8, 40)
    got = select(
        Pool(40, [0]), 12, "kcenter", columns={"features": x}, groups=groups, max_per_group=2
    )
    taken = [0]
    for _ in range(12):
        open_ = [
            i
            for i in range(40)
            if i not in taken and sum(groups[j] == groups[i] for j in taken) < 2
        ]
        taken.append(max(open_, key=lambda i: min(np.linalg.norm(x[i] - x[j]) for j in taken)))
    assert got.indices.tolist() == taken[1:]


def test_random_with_caps_is_full_and_within_them():
    groups = np.arange(50) % 5
    got = select(Pool(50), 10, "random", groups=groups, max_per_group=2)
    assert np.bincount(groups[got.indices]).tolist() == [2] * 5


def test_baselines_through_the_same_call():
    kinds = np.array([0] * 16 + [1] * 4)
    assert len(select(Pool(20), 0.25, "random")) == 5
    assert np.bincount(
        kinds[select(Pool(20), 5, "random_stratified", classes=kinds).indices]
    ).tolist() == [4, 1]
    got = select(
        Pool(20),
        4,
        "random_foreground",
        columns={"foreground": (kinds == 1).astype(float)},
        options={"share": 1.0},
    )
    assert kinds[got.indices].sum() == 4
    a, b = (select(Pool(20), 5, "random", seed=s).indices.tolist() for s in (0, 0))
    assert a == b


def test_bad_input():
    with pytest.raises(KeyError, match="scores: no score for 4 candidates, first 103"):
        select(POOL, 1, scores=scores([1.0, 2.0], ids=IDS[:2]))
    with pytest.raises(KeyError, match="1 image ids are not in the pool, first 999"):
        select(POOL, 1, scores=scores([1.0], ids=np.array([999])))
    with pytest.raises(ValueError, match="uncertainty needs scores"):
        select(POOL, 1)
    with pytest.raises(ValueError, match="a shortlist needs scores"):
        select(POOL, 1, "random", expand=4)
    with pytest.raises(ValueError, match="need classes"):
        select(POOL, 1, "random", balance="uniform")
    with pytest.raises(ValueError, match="balance: expected uniform"):
        select(POOL, 1, "random", balance="fair", classes=np.zeros(6))
    with pytest.raises(ValueError, match=r"classes: expected shape \(6,\)"):
        select(POOL, 1, "random_stratified", classes=[1, 2])
    with pytest.raises(KeyError, match="unknown strategy 'kcentre'"):
        select(POOL, 1, "kcentre")
    with pytest.raises(ValueError, match="fit: expected"):
        select(POOL, 1, "random", fit="best")


def test_the_record_can_be_saved(tmp_path):
    got = select(
        POOL,
        2,
        "kcenter",
        scores=scores([1.0, 2, 3, 4, 5, 6]),
        columns={"features": np.eye(6)},
        expand=2,
    )
    again = coreset.Selection.load(got.save(tmp_path / "s.parquet"))
    assert again.ids.tolist() == got.ids.tolist()
    assert again.info["slack"] == {"images": 0}
