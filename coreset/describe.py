"""Every part by name as plain data: what it is, what it reads and gives, and its parameters as a
JSON schema. For programs that choose parts without reading their source.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from coreset import registry

GROUPS = {
    "strategies": "coreset.strategies",
    "scorers": "coreset.scorers",
    "image_scorers": registry.IMAGES,
    "operators": "coreset.operators",
    "distillers": "coreset.distillers",
}
_PLAIN = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
_PARTS = ("Strategy", "ScoreBased", "Scorer", "Filter", "Operator", "Distiller")


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind of part. Raises KeyError that lists the kinds."""
    if kind not in GROUPS:
        raise KeyError(f"kind: expected {', '.join(GROUPS)}, got {kind!r}")
    return GROUPS[kind]


def list_parts(kind: str) -> list[dict[str, str]]:
    """Return name and first sentence of every part of a kind, by name.

    >>> [p for p in list_parts("strategies") if p["name"] == "margin"][0]["kind"]
    'strategies'
    """
    group = group_of(kind)
    return [
        {"kind": kind, "name": name, "about": _first(registry.load(name, group))}
        for name in registry.names(group)
    ]


def describe_part(kind: str, name: str) -> dict[str, Any]:
    """Return what a part is: its documentation, the columns it `needs` and `gives` with default
    parameters (where it has any), and `parameters`, a JSON schema of its options.

    Raises KeyError with the nearest names for an unknown one.

    >>> describe_part("operators", "threshold")["parameters"]["required"]
    ['column']
    """
    factory = registry.load(name, group_of(kind))
    out: dict[str, Any] = {
        "kind": kind, "name": name, "about": _first(factory),
        "documentation": inspect.getdoc(factory) or "",
        "method": inspect.getdoc(inspect.getmodule(factory)) or "", "parameters": schema(factory),
    }  # fmt: skip
    try:
        part = factory()
    except (TypeError, ValueError, ImportError, OSError):
        return out
    for name_ in ("needs", "needs_selected", "gives"):
        value = getattr(part, name_, None)
        if isinstance(value, frozenset):
            out[name_] = sorted(value)
    return out


def schema(factory: Any) -> dict[str, Any]:
    """Return the parameters of a class or function as a JSON schema; `x-python` keeps the
    annotation.
    """
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = parameter.annotation
        words = (
            annotation
            if isinstance(annotation, str)
            else getattr(annotation, "__name__", str(annotation))
        )
        one: dict[str, Any] = {**_type(words), "x-python": words}
        if parameter.default is parameter.empty:
            required.append(name)
        elif _is_plain(parameter.default):
            one["default"] = parameter.default
        properties[name] = one
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(words: str) -> dict[str, Any]:
    """Return the JSON schema of an annotation, as far as JSON can say it."""
    kinds = [w.strip() for w in re.split(r"\|(?![^\[]*\])", words)]
    options: list[dict[str, Any]] = []
    for kind in kinds:
        bare = kind.split("[")[0].split(".")[-1]
        if bare in _PLAIN:
            options.append({"type": _PLAIN[bare]})
        elif bare == "None":
            options.append({"type": "null"})
        elif bare == "Literal":
            values = [v.strip().strip("'\"") for v in kind[kind.index("[") + 1 : -1].split(",")]
            options.append({"enum": values})
        elif bare in ("Sequence", "list", "tuple", "frozenset", "set"):
            options.append({"type": "array"})
        elif bare in ("Mapping", "dict"):
            options.append({"type": "object"})
        elif bare in _PARTS:
            options.append(
                {
                    "type": ["string", "object"],
                    "description": f"a part ({bare}): its name, or {{name: options}}",
                }
            )
        else:
            return {}
    return options[0] if len(options) == 1 else {"anyOf": options}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None or (
        isinstance(value, bool | int | float | str) and not is_dataclass(value)
    )


def _first(documented: Any) -> str:
    text = (inspect.getdoc(documented) or "").split("\n\n")[0]
    return " ".join(text.split())
