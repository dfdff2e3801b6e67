"""Rows about last-layer gradients: GradMatch, CRAIG, BADGE."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreset import select
from scripts.benchmarks import peers, textbook
from scripts.benchmarks.harness import Answer, Method, Row, same_picks
from scripts.benchmarks.inputs import linear_model, mixture

RIDGE = 0.01
CLASSES = 10


def grad_match(scale: float = 1) -> Row:
    """500 of 5,000, 10 classes x 512, all classes at once."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)
    model = linear_model(x, CLASSES)
    written = textbook.gradients(x, model.probs, model.labels)
    goal = written.sum(axis=0, dtype=np.float64)

    def ours(budget: int, variant: str = "nonnegative") -> Answer:
        chosen = select(
            "gradmatch",
            budget,
            features=x,
            probs=model.probs,
            labels=model.labels,
            options={"per_class": False, "ridge": RIDGE, "variant": variant},
        )
        return chosen.indices, chosen.weights

    def released(budget: int) -> Answer:
        a = textbook.gradients(x, model.probs, model.labels)
        lam = RIDGE * float(np.square(a, dtype=np.float64).sum(axis=1).mean())
        picks = textbook.matching_pursuit_released(a, budget, lam)
        rows = written[picks].astype(np.float64)
        return (
            picks,
            np.linalg.lstsq(rows @ rows.T + lam * np.eye(budget), rows @ goal, rcond=None)[0],
        )

    def loop(budget: int) -> Answer:
        return textbook.matching_pursuit(
            textbook.gradients(x, model.probs, model.labels), budget, RIDGE
        )

    def error(answer: Answer) -> float:
        picks, weights = answer
        return float(
            np.linalg.norm(weights @ written[picks].astype(np.float64) - goal)
            / np.linalg.norm(goal)
        )

    def agree(a: Answer, b: Answer, budget: int) -> dict[str, Any]:
        return same_picks(a[0], b[0], budget) | {"matching_error": error(b), "ours": error(a)}

    return Row(
        f"GradMatch, orthogonal matching pursuit, {k:,} of {n:,}, {CLASSES} classes x {dim}",
        k,
        Method("coreset", ours, note="weights are kept non-negative at every step"),
        [
            Method("textbook loop on written-out gradients (numpy, float64)", loop, note="weights may be negative until the last fit", slow=True, small=3),
            Method("released loop (as DeepCore)", released, note="weights may be negative", slow=True, small=3),
            Method("coreset, variant released_code", lambda budget: ours(budget, "released_code"), note="weights free until the last fit"),
        ],
        agree,
        "100x the textbook and the released loop",
        {"flops": 2.0 * n * (dim + CLASSES) * k + 4.0 * n * k * k / 2, "bytes": 4.0 * n * (dim + CLASSES) * k, "of": "one pass over the two factors per pick, and the residual"},
        trials=5 if scale == 1 else 1,
    )  # fmt: skip


def craig(scale: float = 1) -> Row:
    """500 of 5,000, 10 classes x 512, all classes at once: distances and selection."""
    n, dim, k = int(5_000 * scale), 512, int(500 * scale)
    x, _ = mixture(n, dim)
    model = linear_model(x, CLASSES)
    distance = textbook.gradient_distances(textbook.gradients(x, model.probs, model.labels))
    top = float(distance.max())

    def ours(budget: int) -> Answer:
        return select(
            "craig",
            budget,
            features=x,
            probs=model.probs,
            labels=model.labels,
            options={"per_class": False},
        ).indices

    def similarity() -> Any:
        d = textbook.gradient_distances(textbook.gradients(x, model.probs, model.labels))
        return d.max() - d

    def agree(a: Answer, b: Answer, budget: int) -> dict[str, Any]:
        cost = [
            float(distance[:, np.asarray(p)[:budget]].min(axis=1).sum(dtype=np.float64))
            for p in (b, a)
        ]
        return same_picks(a, b, budget) | {
            "sum_of_distances": cost[0],
            "ours": cost[1],
            "objective_ratio": (n * top - cost[0]) / (n * top - cost[1]),
        }

    return Row(
        f"CRAIG, {k:,} of {n:,}, {CLASSES} classes x {dim}, distances and selection",
        k,
        Method("coreset", ours),
        [
            Method("torch.cdist on written-out gradients, then textbook lazy greedy (as DeepCore)", lambda budget: textbook.facility_location_lazy(similarity(), budget)),
            Method("torch.cdist on written-out gradients, then apricot lazy (as CORDS)", lambda budget: peers.apricot_facility(similarity(), budget)),
        ],
        agree,
        "7.5x distances, 40x selection",
        {"flops": 2.0 * n * n * (dim + CLASSES) / 2, "of": "inner products of the two factors, half of them by symmetry"},
    )  # fmt: skip


def craig_distances(scale: float = 1) -> Row:
    """The distances of CRAIG alone."""
    import torch

    from coreset.numerics.gradients import LastLayerGradients
    from coreset.strategies.gradient.craig import dense_distances

    n, dim = int(5_000 * scale), 512
    x, _ = mixture(n, dim)
    model = linear_model(x, CLASSES)

    def ours(_: int) -> Answer:
        residual = model.probs.copy()
        residual[np.arange(n), model.labels] -= 1
        return dense_distances(
            LastLayerGradients(torch.from_numpy(residual), torch.from_numpy(x)), "euclidean"
        )

    def agree(a: Answer, b: Answer, _: int) -> dict[str, Any]:
        return {
            "largest_difference": 0.0 if a is b else float(np.abs(a - b).max()),
            "largest_distance": float(a.max()),
        }

    return Row(
        f"CRAIG, all distances between {n:,} gradients, {CLASSES} classes x {dim}",
        1,
        Method("coreset", ours),
        [
            Method(
                "torch.cdist on written-out gradients",
                lambda _: textbook.gradient_distances(
                    textbook.gradients(x, model.probs, model.labels)
                ),
            )
        ],
        agree,
        "7.5x",
        {
            "flops": 2.0 * n * n * (dim + CLASSES) / 2,
            "of": "inner products of the two factors, half of them by symmetry",
        },
    )


def badge(scale: float = 1) -> Row:
    """1,000 of 50,000 x 512, 10 classes."""
    n, dim, k = int(50_000 * scale), 512, int(1_000 * scale)
    x, _ = mixture(n, dim)
    model = linear_model(x, CLASSES)
    residual = model.probs.copy()
    residual[np.arange(n), model.probs.argmax(axis=1)] -= 1
    written: list[Any] = []

    def explicit(budget: int) -> Answer:
        if not written:
            written.append((residual[:, :, None] * x[:, None, :]).reshape(n, -1))
        return textbook.k_means_pp_explicit(written[0], budget, np.random.default_rng(0))

    def facts(_: Answer) -> dict[str, Any]:
        """k-means++ potential after the same number of picks, over seeds: equal in distribution."""
        m, budget, seeds = 2_000, 100, 30 if scale == 1 else 4
        part, probs = x[:m], model.probs[:m]
        g = (residual[:m, :, None] * part[:, None, :]).reshape(m, -1)
        ours = [
            textbook.potential(
                g, select("badge", budget, features=part, probs=probs, seed=s).indices
            )
            for s in range(seeds)
        ]
        loop = [
            textbook.potential(
                g,
                textbook.k_means_pp_factored(part, residual[:m], budget, np.random.default_rng(s)),
            )
            for s in range(seeds)
        ]
        mean, error = (
            np.mean([ours, loop], axis=1),
            np.std([ours, loop], axis=1, ddof=1) / np.sqrt(seeds),
        )
        return {
            "potential": f"{budget} of {m:,}, {seeds} seeds, mean and standard error",
            "ours": [mean[0], error[0]],
            "textbook": [mean[1], error[1]],
            "difference_in_standard_errors": (mean[0] - mean[1]) / float(np.hypot(*error)),
        }

    def agree(_: Answer, b: Answer, budget: int) -> dict[str, Any]:
        return {
            "random": "equal in distribution, see the facts of ours",
            "distinct": len(np.unique(b)),
            "of": budget,
        }

    def factored(budget: int) -> Answer:
        return textbook.k_means_pp_factored(x, residual, budget, np.random.default_rng(0))

    def activeml(budget: int) -> Answer:
        return peers.activeml_badge(x, model.probs, budget, 0)

    def released(budget: int) -> Answer:
        return textbook.k_means_pp_released(x, residual, budget, np.random.default_rng(0))

    few = (2, 6) if scale == 1 else (2, 4)
    return Row(
        f"BADGE, {k:,} of {n:,} x {dim}, {CLASSES} classes",
        k,
        Method("coreset", lambda budget: select("badge", budget, features=x, probs=model.probs).indices),
        [
            Method("factored loop (numpy)", factored, (20, 120) if scale == 1 else (2, 4)),
            Method("released loop (Python sum, scipy rv_discrete: as the authors' code of 2024)", released, (10, 40) if scale == 1 else (2, 4)),
            Method("loop on written-out gradients (as the authors until 2024)", explicit, few, small=2),
            Method("scikit-activeml Badge", activeml, (3, 43) if scale == 1 else few, small=2, note="writes the gradients out; that set-up is left out by the slope"),
        ],
        agree,
        "40x the released loop",
        {"flops": 2.0 * n * (dim + CLASSES) * k, "bytes": 4.0 * n * (dim + CLASSES), "of": "one inner product of the factors per row and pick"},
        facts,
    )  # fmt: skip
