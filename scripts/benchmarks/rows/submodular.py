"""Rows about set functions: facility location and graph cut."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from coreset import select
from coreset.numerics import similarity
from scripts.benchmarks import peers, textbook
from scripts.benchmarks.harness import Answer, Method, Row, same_picks
from scripts.benchmarks.inputs import Float, cosine_similarity, mixture

LAM = 0.5
NEIGHBORS = 32
GOAL_FACILITY = "40x apricot and submodlib at equal objective"


def _facility_agree(s: Float) -> Any:
    def agree(a: Answer, b: Answer, budget: int) -> dict[str, Any]:
        value = textbook.facility_value(s, np.asarray(b))
        ours = textbook.facility_value(s, np.asarray(a)[:budget])
        return same_picks(a, b, budget) | {
            "objective": value,
            "ours": ours,
            "objective_ratio": value / ours,
        }

    return agree


def facility_location(scale: float = 1) -> Row:
    """500 of 5,000, similarities given."""
    n, k = int(5_000 * scale), int(500 * scale)
    s = cosine_similarity(mixture(n, 512)[0])
    options = {"similarity": "precomputed"}
    chosen = select("facility_location", k, similarity=s, options=options)
    return Row(
        f"facility location, {k:,} of {n:,}, similarities given",
        k,
        Method("coreset", lambda budget: select("facility_location", budget, similarity=s, options=options).indices),
        [
            Method("coreset, stochastic (epsilon 0.01)", lambda budget: select("facility_location", budget, similarity=s, options=options | {"optimizer": "stochastic"}).indices),
            Method("apricot lazy", lambda budget: peers.apricot_facility(s, budget), note="compiles its inner loops anew at every call, over 1 s of its time"),
            Method("apricot two-stage", lambda budget: peers.apricot_facility(s, budget, "two-stage")),
            Method("submodlib LazyGreedy", lambda budget: peers.submodlib_facility(s, budget)),
            Method("submodlib StochasticGreedy", lambda budget: peers.submodlib_facility(s, budget, "StochasticGreedy")),
            Method("textbook lazy greedy (numpy and heapq, as DeepCore)", lambda budget: textbook.facility_location_lazy(s, budget)),
        ],
        _facility_agree(s),
        GOAL_FACILITY,
        {"bytes": 4.0 * n * chosen.info["evaluations"], "of": f"{chosen.info['evaluations']:,} gains of lazy greedy, each one row of the matrix"},
    )  # fmt: skip


def facility_location_features(scale: float = 1) -> Row:
    """500 of 5,000 x 512, from features."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)
    s = cosine_similarity(x)
    return Row(
        f"facility location, {k:,} of {n:,} x {dim}, from features",
        k,
        Method("coreset", lambda budget: select("facility_location", budget, features=x).indices),
        [
            Method("numpy similarities, then apricot lazy", lambda budget: peers.apricot_facility(cosine_similarity(x), budget)),
            Method("numpy similarities, then submodlib LazyGreedy", lambda budget: peers.submodlib_facility(cosine_similarity(x), budget)),
            Method("submodlib, its own cosine kernel", lambda budget: peers.submodlib_facility_features(x, budget),
                   note="maximizes the sum of cosines, another objective than 1/2 + 1/2 cos where a cosine is below 0 (taken as 0)"),
        ],
        _facility_agree(s),
        GOAL_FACILITY,
        {"flops": 2.0 * n * n * dim, "of": "all inner products"},
        trials=5 if scale == 1 else 2,
    )  # fmt: skip


def facility_location_sparse(scale: float = 1) -> Row:
    """500 of 5,000 x 512, nearest neighbors only, from features."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)
    s = cosine_similarity(x)

    def apricot(budget: int) -> Answer:
        from scipy.sparse import csr_matrix
        from sklearn.neighbors import NearestNeighbors

        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        distance, index = (
            NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="brute").fit(unit).kneighbors(unit)
        )
        graph = csr_matrix(
            (
                1 - np.square(distance.ravel()) / 4,
                index.ravel(),
                np.arange(0, n * NEIGHBORS + 1, NEIGHBORS),
            ),
            shape=(n, n),
        )
        return peers.apricot_facility_sparse(graph, budget)

    return Row(
        f"facility location, {k:,} of {n:,} x {dim}, {NEIGHBORS} nearest neighbors, from features",
        k,
        Method(
            "coreset",
            lambda budget: (
                select(
                    "facility_location", budget, features=x, options={"neighbors": NEIGHBORS}
                ).indices
            ),
        ),
        [
            Method("scikit-learn neighbors, then apricot lazy (sparse)", apricot),
            Method(
                "submodlib sparse",
                lambda budget: peers.submodlib_facility_sparse(x, budget, NEIGHBORS),
                slow=True,
            ),
        ],
        _facility_agree(s),
        "90x submodlib; the objective is that of all pairs",
        {"flops": 2.0 * n * n * dim, "of": "all inner products"},
        trials=5 if scale == 1 else 1,
    )


def facility_location_100k_wide(scale: float = 1) -> Row:
    """1,000 of 100,000 x 512."""
    return facility_location_100k(scale, 512)


def facility_location_100k(scale: float = 1, dim: int = 128) -> Row:
    """1,000 of 100,000 x 128, nearest neighbors only; no peer holds it in memory."""
    n, k = int(100_000 * scale), int(1_000 * scale)
    x, _ = mixture(n, dim)

    def facts(_: Answer) -> dict[str, Any]:
        m, budget = int(10_000 * scale), int(1_000 * scale)
        part, _ = mixture(m, dim)
        s = cosine_similarity(part)
        value = {}
        exact_up_to = similarity.EXACT_UP_TO
        for name, neighbors in (("dense", 0), ("sparse", NEIGHBORS), ("approximate", NEIGHBORS)):
            if name == "approximate":
                similarity.EXACT_UP_TO = 0  # the way the whole row goes
            start = time.process_time()
            picks = select(
                "facility_location", budget, features=part, options={"neighbors": neighbors}
            ).indices
            value[f"{name}_cpu_s"] = time.process_time() - start
            value[name] = textbook.facility_value(s, picks)
        similarity.EXACT_UP_TO = exact_up_to
        return {
            "checked_on": f"{budget:,} of {m:,}",
            **value,
            "sparse_over_dense": value["sparse"] / value["dense"],
            "approximate_over_dense": value["approximate"] / value["dense"],
        }

    return Row(
        f"facility location, {k:,} of {n:,} x {dim}, {NEIGHBORS} nearest neighbors, from features",
        k,
        Method(
            "coreset",
            lambda budget: (
                select(
                    "facility_location", budget, features=x, options={"neighbors": NEIGHBORS}
                ).indices
            ),
            slow=True,
        ),
        [],
        same_picks,
        "at most 100 MB beyond the features, at least 99.9 % of dense greedy",
        {
            "flops": 2.0 * n * n * dim,
            "of": "all inner products, which the approximate neighbors do without",
        },
        facts,
        trials=1,
    )


def _graph_agree(s: Float) -> Any:
    def agree(a: Answer, b: Answer, budget: int) -> dict[str, Any]:
        value = textbook.graph_cut_value(s, np.asarray(b), LAM)
        ours = textbook.graph_cut_value(s, np.asarray(a)[:budget], LAM)
        return same_picks(a, b, budget) | {
            "objective": value,
            "ours": ours,
            "objective_ratio": value / ours,
        }

    return agree


def graph_cut(scale: float = 1) -> Row:
    """500 of 5,000, similarities given."""
    n, k = int(5_000 * scale), int(500 * scale)
    s = cosine_similarity(mixture(n, 512)[0])
    options = {"similarity": "precomputed", "lam": LAM}
    return Row(
        f"graph cut, {k:,} of {n:,}, lambda {LAM}, similarities given",
        k,
        Method(
            "coreset",
            lambda budget: select("graph_cut", budget, similarity=s, options=options).indices,
        ),
        [
            Method(
                "textbook greedy (numpy)", lambda budget: textbook.graph_cut_naive(s, budget, LAM)
            ),
            Method(
                "released loop (as DeepCore)",
                lambda budget: textbook.graph_cut_released(s, budget, 1 / LAM),
                note="leaves the row's similarity to itself out: the same order here",
            ),
            Method(
                "submodlib LazyGreedy", lambda budget: peers.submodlib_graph_cut(s, budget, LAM)
            ),
            Method(
                "apricot lazy",
                lambda budget: peers.apricot_graph_cut(s, budget, LAM),
                note="its objective is known to be off (apricot issue #16)",
            ),
        ],
        _graph_agree(s),
        "200x the released loop",
        {"bytes": 4.0 * n * (n + k), "of": "the matrix read once for its sums, one row per pick"},
    )


def graph_cut_features(scale: float = 1) -> Row:
    """500 of 5,000 x 512, from features, no N x N."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)
    s = cosine_similarity(x)
    return Row(
        f"graph cut, {k:,} of {n:,} x {dim}, lambda {LAM}, from features",
        k,
        Method(
            "coreset",
            lambda budget: select("graph_cut", budget, features=x, options={"lam": LAM}).indices,
            note="sums of features, no N x N",
        ),
        [
            Method(
                "numpy similarities, then textbook greedy",
                lambda budget: textbook.graph_cut_naive(cosine_similarity(x), budget, LAM),
            ),
            Method(
                "numpy similarities, then released loop (as DeepCore)",
                lambda budget: textbook.graph_cut_released(cosine_similarity(x), budget, 1 / LAM),
            ),
            Method(
                "numpy similarities, then submodlib LazyGreedy",
                lambda budget: peers.submodlib_graph_cut(cosine_similarity(x), budget, LAM),
            ),
        ],
        _graph_agree(s),
        "40x the released loop",
        {
            "bytes": 4.0 * n * dim * 2,
            "of": "features read twice; lazy greedy reads few rows per pick",
        },
    )
