"""Rows about scores of single examples (BALD, margin) and CCS: nothing to win in the arithmetic, so
these show that the words around it cost little.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coreset import select
from scripts.benchmarks import peers, textbook
from scripts.benchmarks.harness import Answer, Method, Row, same_picks
from scripts.benchmarks.inputs import linear_model, mixture


def bald(scale: float = 1) -> Row:
    """1,000 of 20,000, 20 members, 10 classes."""
    n, members, classes, k = int(20_000 * scale), 20, 10, int(1_000 * scale)
    rng = np.random.default_rng(0)
    probs = rng.gamma(0.5, size=(n, members, classes)) + 1e-6
    probs /= probs.sum(axis=2, keepdims=True)
    return Row(
        f"BALD, {k:,} of {n:,}, {members} members, {classes} classes",
        k,
        Method("coreset", lambda budget: select("bald", budget, member_probs=probs).indices),
        [
            Method(
                "textbook (numpy)",
                lambda budget: np.argsort(-textbook.bald_scores(probs), kind="stable")[:budget],
            ),
            Method("baal BALD", lambda budget: peers.baal_bald(probs, budget)),
        ],
        same_picks,
        "",
        {"bytes": 8.0 * probs.size, "of": "probabilities read once"},
    )


def margin(scale: float = 1) -> Row:
    """1,000 of 50,000, 100 classes."""
    n, classes, k = int(50_000 * scale), 100, int(1_000 * scale)
    probs = linear_model(mixture(n, 64)[0], classes).probs.astype(np.float64)
    return Row(
        f"margin, {k:,} of {n:,}, {classes} classes",
        k,
        Method("coreset", lambda budget: select("margin", budget, probs=probs).indices),
        [
            Method("modAL margin_sampling", lambda budget: peers.modal_margin(probs, budget)),
            Method("scikit-activeml UncertaintySampling", lambda budget: peers.activeml_margin(probs, budget), (2, 12) if scale == 1 else (2, 4),
                   note="holds k x N utilities"),
        ],
        same_picks,
        "",
        {"bytes": 8.0 * probs.size, "of": "probabilities read once"},
    )  # fmt: skip


def ccs(scale: float = 1) -> Row:
    """5,000 of 50,000 scores."""
    n, k, beta, strata = int(50_000 * scale), int(5_000 * scale), 0.1, 50
    aum = np.random.default_rng(0).normal(size=n)

    def spread(picks: Answer) -> list[int]:
        low = np.sort(aum)[int(beta * n)]
        counts: list[int] = np.histogram(aum[np.asarray(picks)], bins=5, range=(low, aum.max()))[
            0
        ].tolist()
        return counts

    def agree(a: Answer, b: Answer, budget: int) -> dict[str, Any]:
        return {
            "chosen": len(b),
            "of": budget,
            "in_fifths_of_the_range": spread(b),
            "ours": spread(a),
        }

    return Row(
        f"CCS, {k:,} of {n:,} scores, beta {beta}, {strata} strata",
        k,
        Method("coreset", lambda budget: select("ccs", budget, aum=aum, options={"beta": beta, "bins": strata}).indices),
        [
            Method("datacull CCS", lambda budget: peers.datacull_ccs(aum, budget / n, beta, strata), small=k,
                   note="its last stratum holds the maximum alone; draws from global random state"),
        ],
        agree,
        "",
        {"bytes": 8.0 * n, "of": "scores read once"},
    )  # fmt: skip
