"""Choose images: any strategy, with scores, distances, quotas, caps and costs, through one call.

The order of decisions: images without a score by their policy; a shortlist by score (`expand`);
quotas per class; the strategy; caps per group; the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset import registry
from coreset.core.budget import FIT, Budget, budget_size
from coreset.core.columns import unmasked
from coreset.core.pool import Indices, Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Strategy
from coreset.numerics.classes import interleave
from coreset.numerics.quota import largest_remainder
from coreset.score_based import ScoreBased
from coreset.vision.afford import afford
from coreset.vision.aggregate import ImageScores, empty_policy
from coreset.vision.chosen import ImageSelection
from coreset.vision.coco import CocoPool, positions
from coreset.vision.cost import Estimate
from coreset.vision.distance import BoxSets
from coreset.vision.medoids import SetKCenter, SetKMedoids
from coreset.vision.methods import RandomForeground, narrow

BALANCE = "uniform, proportional, inverse_frequency or {category: share}"
Draw = Callable[[Pool, int, np.random.Generator], Selection]


def select(
    pool: Pool,
    budget: int | float | Mapping[str, float],
    strategy: str | Strategy = "uncertainty",
    *,
    scores: ImageScores | None = None,
    columns: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    distance: BoxSets | None = None,
    expand: float | None = None,
    balance: str | Mapping[int, float] | None = None,
    classes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    max_per_group: int | None = None,
    costs: Mapping[str, ArrayLike] | None = None,
    fit: Literal["prefix", "fill"] = "prefix",
    allow_short: bool = False,
    seed: int = 0,
) -> ImageSelection:
    """Choose images of the pool, in order of priority; `ids`, `reasons` and `info` (slack,
    shortfall, parameters) come along.

    budget: new images as a count or a share of the pool, or limits in any units of `costs` (N,),
    such as {"boxes": 3000, "images": 500}: all of them hold. strategy: `uncertainty` (highest
    `scores`), `random`, `random_stratified` (over `classes`), `random_foreground` (reads the column
    `foreground`), any registered name or Strategy; with `distance`, `kcenter` and `kmedoids` on it.
    columns: signals (N, ...), beside `score`, `labels` and `features`, which `scores`, `classes`
    and the pool give. info["costs"] says how `expected_boxes` and `box_cost` estimated theirs. An
    image without a score has NaN in `scores`, whatever its place. expand: shortlist that many times
    the budget by `scores` first. balance: share per predicted class in `classes` (N,), whole
    numbers. groups (N,): at most `max_per_group` of each, selected ones included. fit: what to do
    with an image that costs too much, see `cost.within`; `fill` passes over it where the order does
    not depend on the budget (a greedy strategy without balance or quota), others are asked for as
    many images as fit.

    Raises ValueError when fewer images can be had than the budget pays for; `allow_short` returns
    them instead, with info["short"].

    >>> pool = Pool(4, ids=np.array([11, 12, 13, 14]))
    >>> scores = ImageScores(pool.ids, np.array([0.1, 0.9, np.nan, 0.5]), "exclude")
    >>> select(pool, {"boxes": 7}, scores=scores, costs={"boxes": [2, 5, 0, 2]}).ids
    array([12, 14])
    """
    limits: dict[str, float] = (
        dict(budget) if isinstance(budget, Mapping) else {"images": budget_size(budget, pool.size)}
    )
    allowed = Budget(limits)
    prices = allowed.columns(costs or {}, pool.ids)
    if fit not in FIT:
        raise ValueError(f"fit: expected {' or '.join(FIT)}, got {fit!r}")
    members = _per_image(
        groups if groups is not None else getattr(pool, "groups", None), pool, "groups"
    )
    whole = isinstance(max_per_group, int) and not isinstance(max_per_group, bool)
    if max_per_group is not None and (members is None or not whole or max_per_group < 1):
        raise ValueError(
            "max_per_group: expected at least 1, and groups with one name per image, got"
            f" {max_per_group} and {'no groups' if members is None else 'groups'}"
        )
    signals = Signals(
        pool.size, **{name: v for name, v in (columns or {}).items() if v is not None}
    )
    if isinstance(pool, CocoPool) and pool.features is not None and "features" not in signals.names:
        signals.put("features", None, pool.features)
    kinds = _per_image(classes, pool, "classes")
    if kinds is not None:
        if (
            kinds.dtype.kind not in "iuf"
            or not (np.isfinite(kinds) & (np.rint(kinds) == kinds)).all()
        ):
            raise ValueError("classes: expected one whole number per image, the predicted class")
        signals.put("labels", None, kinds.astype(np.int64))
    empty, policy, edge = _put_scores(pool, signals, scores)
    base = _strategy(strategy, options, distance, scores, kinds)
    if expand is not None:
        if scores is None:
            raise ValueError("expand: a shortlist needs scores")
        by_score = registry.strategy("top_k", {"signal": "score"})
        base = registry.strategy("two_stage", {"first": by_score, "second": base, "expand": expand})
    if (balance is not None or strategy == "random_stratified") and kinds is None:
        raise ValueError(
            "balance and random_stratified need classes: one predicted class per image, see"
            " predicted_class"
        )
    notes: dict[str, Any] = {}
    draw = _drawing(base, signals, empty, policy, balance, kinds, notes)
    if max_per_group is not None and members is not None:
        # a random order and scores stay what they are when an image is passed over
        looks = bool(base.needs) or distance is not None
        draw = _capped(
            draw,
            members,
            max_per_group,
            exact=base.greedy and looks and not isinstance(base, ScoreBased),
        )
    open_pool = (
        narrow(pool, pool.candidates[~empty[pool.candidates]]) if policy[0] == "exclude" else pool
    )
    free = open_pool.candidates
    k = allowed.most({u: p[free] for u, p in prices.items()}) if len(free) else 0
    order, keep, slack, ran_out = (
        Selection(np.empty(0, np.int64), reasons=()),
        np.empty(0, np.int64),
        dict(limits),
        True,
    )
    if k:
        order, keep, slack, ran_out = afford(
            lambda n: draw(open_pool, n, np.random.default_rng(seed)),
            free, k, prices, allowed, fit,
            steady=base.greedy and balance is None and policy[0] != "quota",
        )  # fmt: skip
    short = ran_out and len(keep) == len(order) and all(s > 0 for s in slack.values())
    if len(free) and not len(keep) and (len(order) or not k):
        first = (
            order.indices[:1]
            if len(order)
            else free[[int(np.argmin(sum(p[free] / limits[u] for u, p in prices.items())))]]
        )
        cost = {u: float(p[first[0]]) for u, p in prices.items()}
        which = (
            "the first image chosen" if len(order) else "any candidate, not even for the cheapest"
        )
        hint = "; fit='fill' passes over what costs too much" if len(order) else ""
        raise ValueError(
            f"budget: {limits} does not pay for {which}, {pool.ids[first[0]].item()!r}, which costs"
            f" {cost}{hint}"
        )
    if (short and not allow_short) or not len(keep):
        bare = int(empty[pool.candidates].sum())
        held = "" if scores is None or not bare or policy[0] not in ("quota", "exclude") else (
            f"; empty={scores.empty!r} keeps out"
            f" {'all' if policy[0] == 'exclude' else 'all but that share'} of the {bare}"
            " candidates without a score ('last' or 'first' lets them in)"
        )  # fmt: skip
        raise ValueError(
            f"budget: {limits} asked for, but only {len(keep)} of {len(pool.candidates)} candidates"
            " can be had, leaving"
            f" {slack}{held}{'' if not short else '; allow_short=True takes them'}"
        )
    picks = order.indices[keep]
    info = {
        "strategy": strategy if isinstance(strategy, str) else type(strategy).__name__,
        "parameters": _described(base),
        "seed": seed,
        "budget": limits,
        "cost": {u: float(p[picks].sum()) for u, p in prices.items()},
        "slack": slack,
        "short": short,
        **({"costs": about} if (about := _estimates(limits, costs or {})) else {}),
        **({"empty": scores.empty} if scores is not None else {}),
        **notes,
    }
    given = None if order.scores is None else order.scores[keep]
    if given is not None and edge is not None and "score" in base.needs:
        # a place in the order is no score
        given = np.where(empty[picks] & (given == edge), np.nan, given)
    assert order.reasons is not None
    reasons = [order.reasons[i] for i in keep.tolist()]
    return ImageSelection(
        picks, scores=given, reasons=reasons, ids=pool.ids[picks], info=info, pool=pool
    )


def _described(base: Strategy) -> dict[str, Any]:
    return {
        name: {type(v).__name__: _described(v)} if isinstance(v, Strategy) else v
        for name, v in base.parameters().items()
    }


def _estimates(limits: Mapping[str, float], costs: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Return how the costs of the units in a budget were estimated, where they know it."""
    given = {u: costs[u] for u in limits if u in costs}
    return {u: dict(c.about) for u, c in given.items() if isinstance(c, Estimate) and c.about}


def _per_image(values: ArrayLike | None, pool: Pool, what: str) -> NDArray[Any] | None:
    if values is None:
        return None
    array = unmasked(what, values)
    if array.shape != (pool.size,):
        raise ValueError(
            f"{what}: expected shape ({pool.size},), one per image of the pool, got {array.shape}"
        )
    return array


def _put_scores(
    pool: Pool, signals: Signals, scores: ImageScores | None
) -> tuple[NDArray[np.bool_], tuple[str, float], float | None]:
    """Write the column `score` in the pool's order, with images without one first or last; return
    which these are, the policy and what stands for their score.
    """
    if scores is None:
        return np.zeros(pool.size, bool), ("last", 0.0), None
    if not isinstance(scores, ImageScores):
        raise TypeError(
            "scores: expected ImageScores, as aggregate returns them (or ImageScores(pool.ids,"
            f" values, empty='last')), got {type(scores).__name__}"
        )
    at = (
        np.arange(pool.size)
        if scores.ids is pool.ids
        else positions(pool, scores.ids, scores.source)
    )
    absent = np.setdiff1d(pool.candidates, at)
    if len(absent):
        raise KeyError(
            f"{scores.source}: no score for {len(absent)} candidates, first"
            f" {pool.ids[absent[0]].item()!r}"
        )
    values = np.full(pool.size, np.nan)
    values[at] = scores.values
    empty, policy = np.isnan(values), empty_policy(scores.empty)
    known = values[~empty]
    edge = {"first": known.max(initial=0.0) + 1, "last": known.min(initial=0.0) - 1}.get(
        policy[0], np.nan
    )
    signals.put("score", None, np.where(empty, edge, values))
    return empty, policy, float(edge) if np.isfinite(edge) else None


def _strategy(
    strategy: str | Strategy,
    options: Mapping[str, Any] | None,
    distance: BoxSets | None,
    scores: ImageScores | None,
    kinds: NDArray[Any] | None,
) -> Strategy:
    if distance is not None:
        on_sets = {"kcenter": SetKCenter, "kmedoids": SetKMedoids}
        if strategy not in on_sets:
            raise ValueError(
                f"distance goes with {' or '.join(on_sets)}, got {strategy!r}; landmark_features"
                " makes features of it for other strategies"
            )
        return on_sets[str(strategy)](distance, **(options or {}))  # type: ignore[no-any-return]
    if strategy == "uncertainty":
        if scores is None:
            raise ValueError("uncertainty needs scores: one value per image, see aggregate")
        return registry.strategy("top_k", {"signal": "score"})
    if strategy == "random_stratified":
        return registry.strategy("stratified", options)
    if strategy == "random_foreground":
        return RandomForeground(**(options or {}))
    return registry.strategy(strategy, options)


def _drawing(
    base: Strategy,
    signals: Signals,
    empty: NDArray[np.bool_],
    policy: tuple[str, float],
    balance: str | Mapping[int, float] | None,
    kinds: NDArray[Any] | None,
    notes: dict[str, Any],
) -> Draw:
    """Return a function that draws up to k candidates: the share of empty images at random, the
    others class by class, in turns.
    """

    def draw(pool: Pool, k: int, rng: np.random.Generator) -> Selection:
        rest, parts = pool.candidates, []
        if policy[0] == "quota":
            bare = rest[empty[rest]]
            rest = rest[~empty[rest]]
            n = min(len(bare), int(policy[1] * k + 0.5))
            if n:
                parts.append(
                    (registry.strategy("random")(narrow(pool, bare), signals, n, rng), "empty")
                )
            k -= n
        shares = _shares(rest, min(k, len(rest)), balance, kinds, notes)
        for label, members, n in shares:
            parts.append(
                (
                    base(narrow(pool, members), signals, n, rng),
                    "chosen" if label is None else f"class {label}",
                )
            )
        if not parts:
            return Selection(np.empty(0, np.int64), reasons=())
        order = interleave([len(a) for a, _ in parts])
        reasons = np.concatenate([[why] * len(a) for a, why in parts])[order].tolist()
        main = [a.scores for a, why in parts if why != "empty"]
        scores = None
        if all(s is not None for s in main):
            scores = np.concatenate(
                [
                    np.full(len(a), np.nan) if why == "empty" else np.asarray(a.scores)
                    for a, why in parts
                ]
            )[order]
        return Selection(
            np.concatenate([a.indices for a, _ in parts])[order], scores=scores, reasons=reasons
        )

    return draw


def _shares(
    candidates: Indices,
    k: int,
    balance: str | Mapping[int, float] | None,
    kinds: NDArray[Any] | None,
    notes: dict[str, Any],
) -> list[tuple[Any, Indices, int]]:
    """Return (class, its candidates, how many of them) for every class with a share, and note how
    many each class fell short of it.
    """
    if not k:
        return []
    if balance is None or kinds is None:
        return [(None, candidates, k)]
    names, group, counts = np.unique(kinds[candidates], return_inverse=True, return_counts=True)
    if isinstance(balance, Mapping):
        names = np.union1d(names, list(balance))
        group = np.searchsorted(names, kinds[candidates])
        counts = np.bincount(group, minlength=len(names))
        weight = np.array([float(balance.get(c, 0.0)) for c in names.tolist()])
    elif balance in ("uniform", "proportional", "inverse_frequency"):
        weight = {
            "uniform": np.ones(len(names)),
            "proportional": counts.astype(np.float64),
            "inverse_frequency": 1 / counts,
        }[balance]
    else:
        raise ValueError(f"balance: expected {BALANCE}, got {balance!r}")
    k = min(k, int(counts[weight > 0].sum()))
    if not k:
        return []
    quota = largest_remainder(weight, k, caps=counts)
    ideal = largest_remainder(weight, k)
    notes["quota"] = {str(c): int(q) for c, q in zip(names, quota, strict=True)}
    notes["shortfall"] = {
        str(c): int(i - q) for c, i, q in zip(names, ideal, quota, strict=True) if i > q
    }
    return [
        (names[g].item(), candidates[group == g], int(quota[g]))
        for g in range(len(names))
        if quota[g]
    ]


def _capped(draw: Draw, groups: NDArray[Any], cap: int, exact: bool) -> Draw:
    """Return `draw` with at most `cap` per group: full groups are closed, and what is missing is
    drawn again, from what is taken by then.

    exact: cut an answer at the first image of a full group, since those after it were chosen in
    view of that one.
    """
    _, group = np.unique(groups, return_inverse=True)

    def capped(pool: Pool, k: int, rng: np.random.Generator) -> Selection:
        taken = np.bincount(group[pool.selected], minlength=int(group.max()) + 1)
        picks: list[int] = []
        scores: list[float] = []
        reasons: list[str] = []
        scored = True
        candidates = pool.candidates
        while len(picks) < k:
            candidates = candidates[(taken[group[candidates]] < cap) & ~np.isin(candidates, picks)]
            answer = (
                draw(
                    narrow(
                        pool, candidates, np.concatenate([pool.selected, np.array(picks, np.int64)])
                    ),
                    k - len(picks),
                    rng,
                )
                if len(candidates)
                else None
            )
            if answer is None or not len(answer):
                break
            scored &= answer.scores is not None
            for i, pick in enumerate(answer.indices.tolist()):
                if taken[group[pick]] >= cap:
                    if exact:
                        break
                    continue
                taken[group[pick]] += 1
                picks.append(pick)
                scores.append(0.0 if answer.scores is None else float(answer.scores[i]))
                reasons.append((answer.reasons or [""] * len(answer))[i])
        return Selection(
            np.array(picks, np.int64), scores=np.array(scores) if scored else None, reasons=reasons
        )

    return capped
