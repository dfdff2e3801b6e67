"""Strategies, scorers, operators and distillers by name, through entry-point groups.

A name goes wherever a part goes: `"kcenter"`, or `{"top_k": {"signal": "loss"}}` with options.
Another package adds its own with one line in its pyproject:
`[project.entry-points."coreset.strategies"] mine = "package.module:Class"`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from coreset.core.strategy import Scorer, Strategy

IMAGES = "coreset.image_scorers"  # of decoded images


_installed = cache(entry_points)  # reads the metadata of every package


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, in the order of names."""
    return {e.name: e for e in sorted(_installed().select(group=group), key=lambda e: e.name)}


def names(group: str = "coreset.strategies") -> list[str]:
    """Return the names that can be asked for, sorted.

    >>> "kcenter" in names()
    True
    """
    return list(entries(group))


def load(name: str, group: str = "coreset.strategies") -> Any:
    """Return the class or function registered under `name`.

    Raises KeyError with the nearest names when there is none.
    """
    known = entries(group)
    if name not in known:
        word = group.split(".")[-1].removesuffix("s").replace("ie", "y")
        raise unknown(word, str(name), known)
    return known[name].load()


def unknown(word: str, name: str, known: Iterable[str]) -> KeyError:
    """Return the error of a name that is not known, with the nearest that are.

    >>> unknown("scorer", "lenght", ["ifd", "length"])
    KeyError("unknown scorer 'lenght'; did you mean length? Known: ifd, length")
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return KeyError(f"unknown {word} '{name}'{hint} Known: {', '.join(known)}")


def strategy(
    name: str | Mapping[str, Any] | Strategy, options: Mapping[str, Any] | None = None
) -> Strategy:
    """Return a strategy by name with `options` as its parameters; a Strategy is returned as it is.

    name: also a mapping of one name to its options. Raises KeyError for an unknown name and
    TypeError that lists the parameters for an unknown option.

    >>> strategy("margin").needs
    frozenset({'probs'})
    >>> strategy({"top_k": {"signal": "loss"}}).needs
    frozenset({'loss'})
    """
    part: Strategy = create(name, options, "strategy", "coreset.strategies", Strategy)
    return part


def scorer(
    name: str | Mapping[str, Any] | Scorer, options: Mapping[str, Any] | None = None
) -> Scorer:
    """Return a scorer by name with `options` as its parameters, as `strategy` does for selection.

    A scorer of decoded images comes inside `coreset.scorers.image.images.Images`, which decodes.

    >>> scorer("length", {"unit": "characters"})({"text": ["abc"]})["text_characters"]
    array([3.])
    """
    name, options = split(name, options)
    if isinstance(name, str) and name in names(IMAGES):
        inner = create(name, options, "scorer", IMAGES, object)
        name, options = "images", {"scorers": (inner,)}
    part: Scorer = create(name, options, "scorer", "coreset.scorers", Scorer)
    return part


def operator(name: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Return a scorer or an operator of a recipe by name; an instance is returned as it is.

    >>> operator({"threshold": {"column": "loss", "low": 1.0}}).low
    1.0
    """
    name, options = split(name, options)
    if isinstance(name, str) and (name in names("coreset.scorers") or name in names(IMAGES)):
        return scorer(name, options)
    if not isinstance(name, str):
        return create(name, options, "operator", "coreset.operators", type(name))
    if name not in names("coreset.operators"):
        raise unknown("operator", name, parts())
    return create(name, options, "operator", "coreset.operators", object)


def parts() -> list[str]:
    """Return the names of everything that a recipe may hold, sorted: scorers and operators."""
    return sorted({*names("coreset.scorers"), *names(IMAGES), *names("coreset.operators")})


def split(name: Any, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """Return name and options of a part: `{"top_k": {"signal": "loss"}}` is one name with both.

    Raises TypeError for a mapping that is not one name with a mapping of options.

    >>> split({"top_k": {"signal": "loss"}})
    ('top_k', {'signal': 'loss'})
    """
    if not isinstance(name, Mapping):
        return name, dict(options or {})
    inner = next(iter(name.values()), None)
    if len(name) != 1 or options or not (inner is None or isinstance(inner, Mapping)):
        raise TypeError(f"expected one name with its options, {{name: {{...}}}}, got {dict(name)}")
    return next(iter(name)), dict(inner or {})


def resolve_parts(owner: Any) -> None:
    """Replace names among the fields of a frozen dataclass by the parts they stand for.

    A field is a part if its annotation names Strategy or ScoreBased (a strategy), Scorer, Filter or
    Operator (an operator). To be called first in `__post_init__`. Raises what `strategy` does,
    beginning with the field's name.
    """
    for field in fields(owner):
        kind = str(field.type)
        make = strategy if "Strategy" in kind or "ScoreBased" in kind else None
        make = operator if any(k in kind for k in ("Scorer", "Filter", "Operator")) else make
        value = getattr(owner, field.name)
        if make is None or value is None:
            continue
        several = isinstance(value, list | tuple)
        parts = list(value) if several else [value]
        try:
            parts = [make(v) if isinstance(v, str | Mapping) else v for v in parts]
        except (KeyError, TypeError) as error:
            raise type(error)(f"{field.name}: {error.args[0]}") from error
        object.__setattr__(owner, field.name, tuple(parts) if several else parts[0])


def create(name: Any, options: Mapping[str, Any] | None, what: str, group: str, kind: type) -> Any:
    """Return the part registered under `name` in `group`, made with `options`; an instance of
    `kind` is returned as it is.

    what: the word for it in messages. Raises KeyError for an unknown name, TypeError for an unknown
    option or a class that is not of `kind`.
    """
    name, options = split(name, options)
    if not isinstance(name, str) and isinstance(name, kind):
        if options:
            raise TypeError(
                f"options {sorted(options)} go with a {what}'s name; this one is already made:"
                f" {name}"
            )
        return name
    factory = load(str(name), group)
    known = list(inspect.signature(factory).parameters)
    unknown = [o for o in options if o not in known]
    if unknown:
        raise TypeError(
            f"{what} '{name}' has no option {', '.join(map(repr, unknown))}; its options:"
            f" {', '.join(known) or 'none'}"
        )
    result = factory(**options)
    if not isinstance(result, kind):
        raise TypeError(f"'{name}' ({factory}) is no coreset.{kind.__name__}")
    return result
