"""A recipe checked before anything runs: every column an operator needs is there by then, none is
written twice, every operator has a name and a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from coreset.core.store import fingerprint
from coreset.curation.io.formats import RESERVED, Schema
from coreset.curation.operators.base import GroupBy, Operator, describe, flatten, unique_names
from coreset.curation.runtime.checkpoint import Stage


def reads(operator: Operator) -> frozenset[str]:
    """Return every column an operator reads."""
    return operator.needs | operator.key_needs if isinstance(operator, GroupBy) else operator.needs


def needed(operators: Sequence[Operator]) -> frozenset[str]:
    """Return the columns that the rows themselves have to bring: read before any operator has given
    them.
    """
    out: set[str] = set()
    given: set[str] = {"id"}
    for operator in operators:
        out |= reads(operator) - given
        given |= operator.gives
    return frozenset(out)


def check_recipe(operators: Iterable[Any], schema: Schema) -> list[Operator]:
    """Return the operators of a recipe, flat and checked against the rows.

    Raises TypeError for what is no operator, KeyError for a column that nothing gives, ValueError
    for one that is given twice or reserved, or no operator.
    """
    flat = flatten(operators)
    if not flat:
        raise ValueError("recipe: expected at least one operator")
    from_rows = schema.columns | set(schema.extra)
    have: dict[str, str] = dict.fromkeys(from_rows | {"id"}, "the rows")
    for name, operator in zip(unique_names(flat), flat, strict=True):
        for column in sorted(reads(operator)):
            if column not in have and not (
                column.endswith("_status") and column.removesuffix("_status") in have
            ):
                raise KeyError(
                    f"operator '{name}' needs the column '{column}': no operator before it gives it"
                    f" and the rows ({schema.kind}) have no such field; there are"
                    f" {', '.join(sorted(have))}"
                )
        for column in sorted(operator.gives):
            if (
                column in RESERVED
                or have.get(column, "the rows") != "the rows"
                or column in schema.columns
            ):
                raise ValueError(
                    f"operator '{name}' gives the column '{column}', which"
                    f" {have.get(column, 'every decision')} has already"
                )
            have[column] = f"'{name}'"
    return flat


def stages(operators: Sequence[Operator], source_key: str, total: int) -> list[Stage]:
    """Return the operators in their places; each key hangs on the input and on all operators
    before. total: rows read, which budgets are shares of.
    """
    out = []
    key = source_key
    for i, (name, operator) in enumerate(zip(unique_names(operators), operators, strict=True), 1):
        key = fingerprint(key, describe(operator), total)
        out.append(Stage(f"{i:02d}-{name}-{key}", name, key, operator.gives, operator))
    return out
