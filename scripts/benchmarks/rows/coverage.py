"""Rows about covering the features: k-center, herding, ProbCover, TypiClust, MaxHerding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset import select
from scripts.benchmarks import peers, textbook
from scripts.benchmarks.harness import Method, Row, same_picks
from scripts.benchmarks.inputs import mixture

FIRST = 7  # where farthest-first starts
GOAL_K_CENTER = (
    "identical picks; 40x the fastest peer from PyPI, 300x the table loop (at 50,000 x 512)"
)


def _k_center(n: int, dim: int, k: int, scale: float) -> Row:
    x, _ = mixture(n, dim)

    def points(low: int, high: int) -> tuple[int, int]:
        return (low, high) if scale == 1 else (2, 4)

    def ours(budget: int) -> NDArray[np.int64]:
        return select("kcenter", budget, features=x, selected=[FIRST]).indices

    def run(function: Callable[..., Any]) -> Callable[[int], Any]:
        return lambda budget: function(x, budget, FIRST)

    big = n * dim > 10**7
    slow, medium, fast = points(4, 16), points(20, 80) if big else points(50, 250), points(50, 250)
    return Row(
        f"k-center greedy, {k:,} of {n:,} x {dim}",
        k,
        Method("coreset", ours),
        [
            Method("streaming loop (numba)", run(textbook.k_center_stream), fast if big else None),
            Method("pairwise loop (as google/active-learning)", run(textbook.k_center_pairwise), medium),
            Method("table loop (as DeepCore)", run(textbook.k_center_table), slow if big else medium, note="holds a k x N table: 4 k N bytes at the whole budget"),
            Method("scikit-activeml k_greedy_center", run(peers.activeml_k_center), medium, note="holds k x N float64 utilities: 8 k N bytes at the whole budget"),
            Method("fpsample fps_sampling", run(peers.fpsample_k_center), medium),
            Method("small-text greedy_coreset", run(peers.small_text_k_center), points(2, 6), 2, "measures all picks again at each pick: cost grows with the square of k"),
        ],
        same_picks,
        GOAL_K_CENTER,
        {"flops": 2.0 * n * dim * k, "bytes": 4.0 * n * dim, "of": "one inner product per row and pick, features read once"},
    )  # fmt: skip


def k_center_50k(scale: float = 1) -> Row:
    """5,000 of 50,000 x 512."""
    return _k_center(int(50_000 * scale), 512, int(5_000 * scale), scale)


def k_center_10k(scale: float = 1) -> Row:
    """1,000 of 10,000 x 128."""
    return _k_center(int(10_000 * scale), 128, int(1_000 * scale), scale)


def herding(scale: float = 1) -> Row:
    """500 of 5,000 x 512."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)

    def agree(a: Any, b: Any, budget: int) -> dict[str, Any]:
        return same_picks(a, b, budget) | {
            "gap_to_mean": textbook.mean_gap(x, b),
            "ours": textbook.mean_gap(x, np.asarray(a)[:budget]),
        }

    return Row(
        f"herding, {k:,} of {n:,} x {dim}",
        k,
        Method("coreset", lambda budget: select("herding", budget, features=x).indices),
        [
            Method("textbook loop (numpy)", lambda budget: textbook.herding(x, budget)),
            Method("released loop (as DeepCore, its sign set right)", lambda budget: textbook.herding_released(x, budget)),
            Method("coreset, variant inner_product", lambda budget: select("herding", budget, features=x, options={"variant": "inner_product"}).indices,
                   note="what coreax computes"),
            Method("coreax KernelHerding, linear kernel", lambda budget: peers.coreax_herding(x, budget), small=k,
                   note="compares with the variant inner_product; its compilation is not counted"),
        ],
        agree,
        "40x the released loop",
        {"bytes": 4.0 * n * dim * k, "flops": 2.0 * n * dim * k, "of": "features read once per pick from memory; at this size they stay in the last cache, which is faster"},
    )  # fmt: skip


def _unit(n: int, dim: int) -> NDArray[np.float32]:
    x, _ = mixture(n, dim)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def _radius(x: NDArray[np.float32], share: float = 0.003) -> float:
    """Return the radius inside which a row has about this share of all rows."""
    sample = x[: min(len(x), 1000)]
    return float(np.quantile(np.sqrt(np.maximum(2 - 2 * sample @ sample.T, 0)), share))


def prob_cover(scale: float = 1) -> Row:
    """200 of 10,000 x 128, from features."""
    n, dim, k = int(10_000 * scale), 128, int(200 * scale)
    x = _unit(n, dim)
    radius = _radius(x)

    def loop(budget: int) -> NDArray[np.int64]:
        return textbook.max_cover(*textbook.ball_graph(x, radius), n, budget)

    left, right = textbook.ball_graph(x, radius)

    def agree(a: Any, b: Any, budget: int) -> dict[str, Any]:
        return same_picks(a, b, budget) | {
            "covered": textbook.covered(left, right, b),
            "ours": textbook.covered(left, right, np.asarray(a)[:budget]),
        }

    return Row(
        f"ProbCover, {k:,} of {n:,} x {dim}, radius given, graph and selection",
        k,
        Method("coreset", lambda budget: select("probcover", budget, features=x, options={"delta": radius, "normalize": False}).indices),
        [
            Method("textbook loop (numpy)", loop),
            Method("scikit-activeml ProbCover", lambda budget: peers.activeml_prob_cover(x, budget, radius), (2, 12) if scale == 1 else (2, 4),
                   note="N x N distances and edges; breaks ties at random; its set-up is left out by the slope"),
        ],
        agree,
        "",
        {"flops": 2.0 * n * n * dim, "of": "all inner products"},
    )  # fmt: skip


def prob_cover_select(scale: float = 1) -> Row:
    """The selection alone, on a given graph."""
    import pandas as pd

    from coreset.numerics.neighbors.nearest import within
    from coreset.strategies.coverage.probcover import _cover

    n, dim, k = int(10_000 * scale), 128, int(200 * scale)
    x = _unit(n, dim)
    radius = _radius(x)
    start, columns = within(torch.from_numpy(x), radius)
    left, right = textbook.ball_graph(x, radius)
    frame = pd.DataFrame({"x": left, "y": right})

    def ours(budget: int) -> NDArray[np.int64]:
        picks, gains = np.empty(budget, np.int64), np.empty(budget, np.int64)
        _cover(start, columns, np.zeros(n, bool), np.ones(n, bool), picks, gains)
        return picks

    return Row(
        f"ProbCover, {k:,} of {n:,}, selection on a given graph of {len(left):,} edges",
        k,
        Method("coreset", ours),
        [
            Method(
                "released loop (pandas, as the authors)",
                lambda budget: textbook.max_cover_released(frame, n, budget),
            ),
            Method(
                "the same loop in numpy", lambda budget: textbook.max_cover(left, right, n, budget)
            ),
        ],
        same_picks,
        "300x the released loop",
        {
            "bytes": 8.0 * len(left),
            "of": "each edge read once when its row is covered, once when counted",
        },
    )


def typi_clust(scale: float = 1) -> Row:
    """200 of 10,000 x 128, clusters and selection."""
    n, dim, k = int(10_000 * scale), 128, int(200 * scale)
    x = _unit(n, dim)

    def loop(budget: int) -> NDArray[np.int64]:
        from sklearn.cluster import MiniBatchKMeans

        labels = MiniBatchKMeans(
            budget, batch_size=5000, n_init="auto", random_state=0
        ).fit_predict(x)
        return textbook.typical_of_clusters(x, labels, budget, 20)

    def agree(a: Any, b: Any, budget: int) -> dict[str, Any]:
        return {
            "mean_squared_distance_to_picks": textbook.potential(x, np.asarray(b)) / n,
            "ours": textbook.potential(x, np.asarray(a)) / n,
        }

    return Row(
        f"TypiClust, {k:,} of {n:,} x {dim}, clustering and selection",
        k,
        Method(
            "coreset",
            lambda budget: (
                select("typiclust", budget, features=x, options={"normalize": False}).indices
            ),
        ),
        [
            Method(
                "textbook loop (MiniBatchKMeans, as the authors below 50 clusters; they use faiss"
                " above)",
                loop,
            ),
            Method(
                "scikit-activeml TypiClust", lambda budget: peers.activeml_typi_clust(x, budget, 20)
            ),
        ],
        agree,
        "8x (the answers differ with the clusters, so their spread is compared)",
        {"flops": 2.0 * n * k * dim * 10, "of": "ten assignment passes of k-means"},
    )


def typi_clust_select(scale: float = 1) -> Row:
    """The selection alone, on given clusters."""
    from coreset.numerics.neighbors.kmeans import kmeans
    from coreset.strategies.coverage.typiclust import typical_of_clusters

    n, dim, k = int(10_000 * scale), 128, int(200 * scale)
    x = _unit(n, dim)
    rows = torch.from_numpy(x)
    labels = kmeans(rows, k, np.random.default_rng(0), np.arange(n)).labels
    none = np.zeros(n, bool)
    return Row(
        f"TypiClust, {k:,} of {n:,} x {dim}, selection on given clusters",
        k,
        Method(
            "coreset",
            lambda budget: typical_of_clusters(rows, budget, labels, none, 20, 5, False)[0],
        ),
        [
            Method(
                "textbook loop (scikit-learn neighbors)",
                lambda budget: textbook.typical_of_clusters(x, labels, budget, 20),
            )
        ],
        same_picks,
        "8x",
        {"flops": 2.0 * n * n / k * dim, "of": "inner products inside clusters"},
    )


def max_herding(scale: float = 1) -> Row:
    """200 of 5,000 x 128."""
    n, dim, k = int(5_000 * scale), 128, int(200 * scale)
    x = _unit(n, dim)

    def agree(a: Any, b: Any, budget: int) -> dict[str, Any]:
        return same_picks(a, b, budget) | {
            "coverage": textbook.kernel_coverage(x, b),
            "ours": textbook.kernel_coverage(x, np.asarray(a)[:budget]),
        }

    return Row(
        f"MaxHerding, {k:,} of {n:,} x {dim}, Gaussian kernel of width 1",
        k,
        Method("coreset", lambda budget: select("maxherding", budget, features=x).indices),
        [
            Method("textbook loop (numpy, N x N kernel)", lambda budget: textbook.max_herding(x, budget), (4, 14) if scale == 1 else None),
            Method("scikit-activeml MaxHerding", lambda budget: peers.activeml_max_herding(x, budget, 1.0), (4, 14) if scale == 1 else None,
                   note="N x N float64 kernel; breaks ties at random; its set-up is left out by the slope"),
        ],
        agree,
        "",
        {"flops": 2.0 * n * n * dim, "of": "all inner products once"},
    )  # fmt: skip
