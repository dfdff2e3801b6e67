"""Strategies, scorers and distillers by name, through the entry-point groups `coreset.strategies`,
`coreset.scorers` and `coreset.distillers`.

Another package adds its own with one line in its pyproject:
`[project.entry-points."coreset.strategies"] mine = "package.module:Class"`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from coreset.core.strategy import Scorer, Strategy


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {e.name: e for e in sorted(entry_points(group=group), key=lambda e: e.name)}


def names(group: str = "coreset.strategies") -> list[str]:
    """Return the names that can be asked for, sorted.

    >>> "kcenter" in names()
    True
    """
    return list(_entries(group))


def load(name: str, group: str = "coreset.strategies") -> Any:
    """Return the class or function registered under `name`.

    Raises KeyError with the nearest names when there is none.
    """
    found = _entries(group)
    if name not in found:
        near = difflib.get_close_matches(str(name), found, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise KeyError(
            f"unknown {group.split('.')[-1].removesuffix('s').replace('ie', 'y')} '{name}'{hint}"
            f" Known: {', '.join(found)}"
        )
    return found[name].load()


def strategy(name: str | Strategy, options: Mapping[str, Any] | None = None) -> Strategy:
    """Return a strategy by name with `options` as its parameters; a Strategy is returned as it is.

    Raises KeyError for an unknown name and TypeError that lists the parameters for an unknown
    option.

    >>> strategy("margin").needs
    frozenset({'probs'})
    """
    made: Strategy = create(name, options, "strategy", "coreset.strategies", Strategy)
    return made


def scorer(name: str | Scorer, options: Mapping[str, Any] | None = None) -> Scorer:
    """Return a scorer by name with `options` as its parameters, as `strategy` does for selection.

    >>> scorer("length", {"unit": "characters"})({"text": ["abc"]})["text_characters"]
    array([3.])
    """
    made: Scorer = create(name, options, "scorer", "coreset.scorers", Scorer)
    return made


def create(name: Any, options: Mapping[str, Any] | None, what: str, group: str, kind: type) -> Any:
    """Return the part registered under `name` in `group`, made with `options`; an instance of
    `kind` is returned as it is.

    what: the word for it in messages. Raises KeyError for an unknown name, TypeError for an unknown
    option or a class that is not of `kind`.
    """
    options = dict(options or {})
    if isinstance(name, kind):
        if options:
            raise TypeError(
                f"options {sorted(options)} go with a {what}'s name; this one is already made:"
                f" {name}"
            )
        return name
    made = load(str(name), group)
    known = list(inspect.signature(made).parameters)
    unknown = [o for o in options if o not in known]
    if unknown:
        raise TypeError(
            f"{what} '{name}' has no option {', '.join(map(repr, unknown))}; its options:"
            f" {', '.join(known) or 'none'}"
        )
    result = made(**options)
    if not isinstance(result, kind):
        raise TypeError(f"'{name}' ({made}) is no coreset.{kind.__name__}")
    return result
