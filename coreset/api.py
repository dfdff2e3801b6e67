"""Selection, scores and curation as calls on plain Python data: no Hydra, no Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coreset import registry
from coreset.core.budget import budget_size
from coreset.core.overrules import Overrules
from coreset.core.pool import Pool, as_indices
from coreset.core.selection import Selection
from coreset.core.signals import Signals, check_column
from coreset.core.strategy import Strategy
from coreset.overruling import Overruling
from coreset.runs.run_folder import versions

if TYPE_CHECKING:
    from coreset.core.engine import Engine
    from coreset.curation.from_files.select import FileSelection
    from coreset.curation.in_memory import Curation


@overload
def select(
    strategy: str | Strategy | None = None,
    data: int | float | None = None,
    *,
    budget: int | float | None = None,
    selected: ArrayLike = (),
    candidates: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    certify: bool = False,
    overrules: Overrules | None = None,
    **signals: Any,
) -> Selection: ...


@overload
def select(
    strategy: str | Strategy,
    data: str | Path | Sequence[str | Path],
    *,
    budget: int | float,
    out: str | Path,
    engine: str | Engine = "local",
    ids: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    partitions: int | None = None,
    scorer: Any = None,
    **signals: Any,
) -> FileSelection: ...


def select(
    strategy: str | Strategy | None = None,
    data: Any = None,
    *,
    budget: int | float | None = None,
    selected: ArrayLike = (),
    candidates: ArrayLike | None = None,
    ids: Any = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    certify: bool = False,
    overrules: Overrules | None = None,
    out: str | Path | None = None,
    engine: str | Engine | None = None,
    partitions: int | None = None,
    scorer: Any = None,
    **signals: Any,
) -> Selection | FileSelection:
    """Choose examples: positions in the whole dataset, in the order chosen; or rows of files.

    strategy: a name (`coreset.list_strategies()` lists them) or a Strategy; without one `auto`
    decides by what is there and says why in `info["why"]`. budget: how many *new* examples, an int
    (count) or a float in (0, 1] (share of the whole pool); it may come second, without its name.
    selected: positions already taken. candidates: positions that may be chosen (default: all
    others). ids: outside names, unique. certify: write what is known of the answer into
    `info["certificates"]` (cover radius, facility value and more: see `certify`). overrules:
    decisions of people about rows, by id: dropped ones are no candidates, pinned ones come first
    and count in the budget, kept ones come on top of it. signals: columns with one row per example,
    such as `features` (N, D), `probs` (N, C), `labels` (N,), or any column of yours.

    Of columns that no machine holds, data: paths, globs or folders of Parquet or JSON lines, here
    or in a store (`s3://...`). Then signals and ids are names of columns (an id that two rows share
    is refused where it is seen, not searched for); out: a folder for the answer, a table of `rank`,
    `id`, `file`, `line` and `score`; engine: local (the default), ray, or an engine; partitions: of
    strategies that choose in two rounds; scorer: by name or as it is, computes the columns first,
    where the rows lie: `scorer="image_features", features="image_features"` with shards of images
    (tar, Parquet, JSON lines with paths). Returns a `FileSelection`.

    Raises KeyError for an unknown strategy or a missing signal, ValueError or TypeError for a
    budget or a column that is wrong.

    >>> import numpy as np
    >>> select("kcenter", 2, features=np.array([[0.0], [1.0], [5.0]]), selected=[0]).indices
    array([2, 1])
    """
    named = (budget, out, engine, *(v for v in signals.values() if isinstance(v, str)))
    if _paths(data) and any(value is not None for value in named):
        asked: dict[str, Any] = {"selected": len(np.shape(selected)) and len(np.asarray(selected)),
                 "candidates": candidates is not None, "certify": certify,
                 "overrules": overrules is not None}  # fmt: skip
        for name in (n for n, there in asked.items() if there):
            raise ValueError(f"{name}: knows columns in memory only; leave it out with paths")
        if strategy is None or budget is None or out is None:
            missing = "strategy" if strategy is None else "budget" if budget is None else "out"
            raise TypeError(f"{missing}: a selection from files needs it")
        for name, column in {**signals, "ids": ids}.items():
            if not isinstance(column, str) and (name != "ids" or column is not None):
                raise TypeError(f"{name}: expected the name of a column, got {column!r}")
        from coreset.curation.from_files.select import select_from_files  # brings Arrow

        return select_from_files(
            strategy, data, budget, out=out, columns=signals, ids=ids, seed=seed,
            options=options, engine=engine or "local", partitions=partitions, scorer=scorer,
        )  # fmt: skip
    of_files = {"out": out, "engine": engine, "partitions": partitions, "scorer": scorer}
    for name, value in of_files.items():
        if value is not None:
            raise ValueError(f"{name}: belongs to columns in files; give their paths second")
    if data is not None and budget is not None:
        raise TypeError(f"data: expected paths beside budget={budget}, got {type(data).__name__}")
    budget = data if budget is None else budget
    if budget is None:
        raise TypeError(
            "budget: expected how many examples to choose, a number or a share, got None"
        )
    if strategy is None:
        strategy, options = "auto", {"partial": True, **(options or {})}
    chooser = registry.strategy(strategy, options)
    any_of = getattr(chooser, "partial", False)  # `auto` answers with what is there
    needs = (" or " if any_of else ", ").join(sorted(chooser.needs)) or "none"
    hint = f" (this strategy needs: {needs})"
    pool, columns = _question(signals, selected, candidates, ids, hint)
    k = budget_size(budget, pool.size)
    people = None if overrules is None else Overruling.of(overrules, pool)
    if people is not None:
        pool, k = people.pool, k - len(people.pinned)
        if k < 0:
            raise ValueError(
                f"budget: {len(people.pinned)} rows are pinned, {-k} more than asked for"
            )
        if people.labels and "labels" in columns.names:
            given = {n: v for n, v in signals.items() if v is not None}
            given["labels"] = people.relabeled(given["labels"])
            columns = Signals(pool.size, **given)
    if k > len(pool.candidates):
        raise ValueError(
            f"budget: {k} examples asked for, but only {len(pool.candidates)} candidates are left"
        )
    answer = (
        chooser(pool, columns, k, np.random.default_rng(seed))
        if k
        else Selection(np.empty(0, np.int64))
    )
    answer = answer if people is None else people.answer(answer)
    info = {
        **answer.info,
        "seed": seed,
        "versions": versions("coreset-lightning", "torch", "numpy"),
    }
    if certify:
        from coreset.certificates import certificates  # brings torch

        info["certificates"] = certificates(pool, columns, answer)
    return Selection(
        answer.indices, answer.weights, answer.scores, answer.reasons, answer.ids, info
    )


def _paths(data: Any) -> bool:
    """Return whether data are paths and no budget: one, or a list of at least one."""
    some = data if isinstance(data, list | tuple) else [data]
    return bool(some) and all(isinstance(path, str | Path) for path in some)


def score_candidates(
    strategy: str | Strategy,
    *,
    selected: ArrayLike = (),
    candidates: ArrayLike | None = None,
    options: Mapping[str, Any] | None = None,
    **signals: Any,
) -> NDArray[np.float64]:
    """Return the score of every candidate, (N,) float64, higher = taken sooner; NaN for examples
    that are no candidates.

    strategy: one that is a score (such as margin, entropy, grand, el2n). The other arguments: as in
    `select`. Raises TypeError for a strategy that scores sets rather than examples, and what
    `select` raises.

    >>> score_candidates("margin", probs=[[0.9, 0.1], [0.5, 0.5], [0.75, 0.25]], selected=[0])
    array([nan, 1. , 0.5])
    """
    from coreset.score_based import ScoreBased  # brings torch

    scoring = registry.strategy(strategy, options)
    if not isinstance(scoring, ScoreBased):
        raise TypeError(
            "strategy: expected one that gives every candidate a score, got"
            f" {type(scoring).__name__}"
        )
    pool, columns = _question(signals, selected, candidates)
    out = np.full(pool.size, np.nan)
    out[pool.candidates] = scoring.scores(pool, columns)
    return out


def certify(
    chosen: Selection | ArrayLike,
    *,
    selected: ArrayLike = (),
    candidates: ArrayLike | None = None,
    **signals: Any,
) -> dict[str, Any]:
    """Return how well a choice, of a strategy or your own, stands for the pool: see
    `coreset.certificates.certificates` for the numbers and what each needs.

    chosen: a Selection, or positions. selected, candidates and signals as in `select`. Raises
    ValueError or TypeError for a column that is wrong and for positions that are no candidates.

    >>> import numpy as np
    >>> certify([1], features=np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 4.0]]))["cover_radius"]
    3.0
    """
    pool, columns = _question(signals, selected, candidates)
    picks = (
        chosen
        if isinstance(chosen, Selection)
        else Selection(as_indices(chosen, pool.size, "chosen"))
    )
    strange = picks.indices[~np.isin(picks.indices, pool.candidates)]
    if not len(picks) or len(strange):
        problem = (
            f"{len(strange)} are none, first {int(strange[0])}" if len(strange) else "got none"
        )
        raise ValueError(f"chosen: expected candidates, {problem}")
    rows = np.sort(np.concatenate([pool.selected, pool.candidates]))
    for name in sorted(columns.names & {"features", "probs", "labels"}):
        check_column(name, columns.check(name, rows), rows)
    from coreset.certificates import certificates

    return certificates(pool, columns, picks)


def _question(
    signals: Mapping[str, Any],
    selected: ArrayLike,
    candidates: ArrayLike | None,
    ids: ArrayLike | None = None,
    hint: str = "",
) -> tuple[Pool, Signals]:
    """Return pool and columns. Raises ValueError or TypeError when they do not fit each other."""
    columns = {name: values for name, values in signals.items() if values is not None}
    sizes = {}
    for name, values in columns.items():
        if type(values).__module__.startswith("scipy.sparse"):
            raise TypeError(
                f"{name}: expected an array, got a sparse matrix; pass {name}.toarray()"
            )
        if isinstance(values, str) or not (
            getattr(values, "shape", ()) or hasattr(values, "__len__")
        ):
            raise TypeError(
                f"{name}: expected a column with one row per example, got {values!r}; parameters of"
                " the strategy go into options={...}"
            )
        sizes[name] = len(values)
    if ids is not None:
        sizes["ids"] = len(np.asarray(ids))
    if not sizes:
        raise ValueError(f"expected at least one column with a row per example{hint}, or ids")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns must have one row per example, got different lengths: {sizes}")
    size = next(iter(sizes.values()))
    # Pool turns lists into arrays
    return Pool(size, selected, candidates, ids), Signals(size, **columns)  # type: ignore[arg-type]


def curate(operators: Any, rows: Any, **options: Any) -> Curation:
    """Run a recipe over rows that are Python data: see `coreset.curation.in_memory.curate_rows`.

    >>> curate(["exact_duplicates"], [{"text": "a"}, {"text": "a"}]).rows
    [{'text': 'a'}]
    """
    from coreset.curation.in_memory import curate_rows  # brings Arrow

    return curate_rows(operators, rows, **options)


def score(scorer: Any, rows: Any, **options: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of a scorer for rows: see `coreset.curation.in_memory.score_rows`.

    >>> score("length", [{"text": "one two"}])["text_words"]
    array([2.])
    """
    from coreset.curation.in_memory import score_rows

    return score_rows(scorer, rows, **options)
