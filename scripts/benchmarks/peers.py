"""The peers that PyPI has: each is called as its documentation says, and answers with positions in
the order chosen.

They are imported when first called: the benchmark runs without them and says which are missing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]


def _labels(n: int, first: int | None = None) -> Float:
    y = np.full(n, np.nan)
    if first is not None:
        y[first] = 0
    return y


def activeml_k_center(x: Float, k: int, first: int) -> Whole:
    """scikit-activeml: k_greedy_center."""
    picks = import_module("skactiveml.pool._core_set").k_greedy_center(
        x, _labels(len(x), first), batch_size=k, random_state=0
    )[0]
    return np.asarray(picks)


def small_text_k_center(x: Float, k: int, first: int) -> Whole:
    """small-text: greedy_coreset, Euclidean. It takes positions among the unlabeled for positions
    among all, so the labeled row has to stand last.
    """
    rest = np.delete(np.arange(len(x)), first)
    moved, last = np.concatenate([x[rest], x[[first]]]), len(x) - 1
    picks = import_module("small_text.query_strategies.coresets").greedy_coreset(
        moved, np.arange(last), np.array([last]), k, distance_metric="euclidean", batch_size=10_000
    )
    return np.asarray(rest[picks])


def fpsample_k_center(x: Float, k: int, first: int) -> Whole:
    """fpsample: fps_sampling (Rust), whose first answer is the starting point."""
    return np.asarray(import_module("fpsample").fps_sampling(x, k + 1, start_idx=first)).astype(
        np.int64
    )[1:]


def apricot_facility(s: Float, k: int, optimizer: str = "lazy") -> Whole:
    """apricot: FacilityLocationSelection on a given matrix."""
    return np.asarray(
        import_module("apricot")
        .FacilityLocationSelection(k, metric="precomputed", optimizer=optimizer)
        .fit(s)
        .ranking
    )


def apricot_facility_sparse(s: Any, k: int) -> Whole:
    """apricot: the same on a scipy matrix of nearest neighbors."""
    return np.asarray(
        import_module("apricot")
        .FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
        .fit(s)
        .ranking
    )


def apricot_graph_cut(s: Float, k: int, lam: float) -> Whole:
    """apricot: GraphCutSelection, whose alpha weighs the first sum."""
    return np.asarray(
        import_module("apricot")
        .GraphCutSelection(k, metric="precomputed", alpha=1 / lam, optimizer="lazy")
        .fit(s)
        .ranking
    )


def _maximize(function: Any, k: int, optimizer: str) -> Whole:
    picks = function.maximize(
        budget=k,
        optimizer=optimizer,
        stopIfZeroGain=False,
        stopIfNegativeGain=False,
        verbose=False,
        show_progress=False,
    )
    return np.array([item for item, _ in picks], np.int64)


def submodlib_facility(s: Float, k: int, optimizer: str = "LazyGreedy") -> Whole:
    """submodlib: FacilityLocationFunction on a given dense matrix."""
    make = import_module("submodlib").FacilityLocationFunction
    return _maximize(make(n=len(s), mode="dense", sijs=s, separate_rep=False), k, optimizer)


def submodlib_facility_features(x: Float, k: int) -> Whole:
    """submodlib: the same from features with its own cosine kernel."""
    make = import_module("submodlib").FacilityLocationFunction
    return _maximize(
        make(n=len(x), mode="dense", data=x, metric="cosine", separate_rep=False), k, "LazyGreedy"
    )


def submodlib_facility_sparse(x: Float, k: int, neighbors: int) -> Whole:
    """submodlib: the same between nearest neighbors only."""
    make = import_module("submodlib").FacilityLocationFunction
    return _maximize(
        make(n=len(x), mode="sparse", data=x, metric="cosine", num_neighbors=neighbors),
        k,
        "LazyGreedy",
    )


def submodlib_graph_cut(s: Float, k: int, lam: float) -> Whole:
    """submodlib: GraphCutFunction on a given dense matrix."""
    make = import_module("submodlib").GraphCutFunction
    return _maximize(
        make(n=len(s), mode="dense", lambdaVal=lam, ggsijs=s, separate_rep=False), k, "LazyGreedy"
    )


def _fixed_classifier(probs: Float) -> Any:
    """A scikit-activeml classifier that answers with given probabilities."""
    base = import_module("skactiveml.base").SkactivemlClassifier

    class Fixed(base):  # type: ignore[misc, valid-type, unused-ignore]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> Float:
            return probs

    return Fixed()


def activeml_badge(x: Float, probs: Float, k: int, seed: int) -> Whole:
    """scikit-activeml: Badge, which writes the gradients out."""
    strategy = import_module("skactiveml.pool").Badge(random_state=seed)
    return np.array(
        strategy.query(x, _labels(len(x)), _fixed_classifier(probs), fit_clf=False, batch_size=k)
    )


def activeml_prob_cover(x: Float, k: int, radius: float) -> Whole:
    """scikit-activeml: ProbCover with the radius given."""
    strategy = import_module("skactiveml.pool").ProbCover(
        n_classes=10, deltas=[radius], random_state=0
    )
    return np.asarray(strategy.query(x, _labels(len(x)), batch_size=k))


def activeml_typi_clust(x: Float, k: int, neighbors: int) -> Whole:
    """scikit-activeml: TypiClust with its default k-means."""
    strategy = import_module("skactiveml.pool").TypiClust(k=neighbors, random_state=0)
    return np.asarray(strategy.query(x, _labels(len(x)), batch_size=k))


def activeml_max_herding(x: Float, k: int, width: float) -> Whole:
    """scikit-activeml: MaxHerding with the kernel width of the paper."""
    strategy = import_module("skactiveml.pool").MaxHerding(
        metric_dict={"gamma": 1 / width**2}, random_state=0
    )
    return np.asarray(strategy.query(x, _labels(len(x)), batch_size=k))


def coreax_herding(x: Float, k: int) -> Whole:
    """coreax: KernelHerding with a linear kernel (JAX)."""
    coreax, solvers = import_module("coreax"), import_module("coreax.solvers")
    solver = solvers.KernelHerding(
        k,
        kernel=import_module("coreax.kernels").LinearKernel(output_scale=1.0, constant=0.0),
        block_size=1000,
    )
    coreset, _ = import_module("equinox").filter_jit(solver.reduce)(coreax.Data(x))
    return np.asarray(coreset.unweighted_indices).astype(np.int64)


def baal_bald(member_probs: Float, k: int) -> Whole:
    """baal: BALD, on probabilities (n, C, T)."""
    order = import_module("baal.active.heuristics").BALD()(
        np.ascontiguousarray(member_probs.transpose(0, 2, 1))
    )
    return np.asarray(order)[:k].astype(np.int64)


class _Says:
    def __init__(self, probs: Float) -> None:
        self.probs = probs

    def predict_proba(self, _: Any) -> Float:
        return self.probs


def modal_margin(probs: Float, k: int) -> Whole:
    """modAL: margin_sampling."""
    answer = import_module("modAL.uncertainty").margin_sampling(_Says(probs), probs, n_instances=k)
    return np.asarray(answer[0] if isinstance(answer, tuple) else answer)


def activeml_margin(probs: Float, k: int) -> Whole:
    """scikit-activeml: UncertaintySampling with the margin."""
    strategy = import_module("skactiveml.pool").UncertaintySampling(
        method="margin_sampling", random_state=0
    )
    return np.array(
        strategy.query(
            probs, _labels(len(probs)), _fixed_classifier(probs), fit_clf=False, batch_size=k
        )
    )


def datacull_ccs(scores: Float, share: float, beta: float, strata: int) -> Whole:
    """datacull: CCSDataLoader; its `pruning_rate` is the share it keeps, and it draws from numpy's
    global state.
    """
    data, ccs = import_module("datacull.data"), import_module("datacull.methods.CCS")
    loader = ccs.CCSDataLoader(data.DCDataset(_Rows(len(scores))), share, beta, strata)
    return np.asarray(loader.compute_subset(scores))


class _Rows:
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[int]:
        return (i,)
