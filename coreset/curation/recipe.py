"""A recipe given as data: a file that somebody else wrote, read without Hydra.

Hydra's files can name code that runs before a program begins (callbacks, logging, packages) and can
read the environment by `${oc.env:NAME}`. A recipe read here is plain YAML or JSON, and the only
text with a meaning of its own is `${budget}`, `${cost}`, `${model.name}`, `${seed}`, `${images}`,
and `${recipe.NAME}` for a value of the recipe itself, each as a whole value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SETTINGS = ("budget", "cost", "model.name", "seed", "images")
_REFERENCE = re.compile(r"\$\{(recipe\.)?([A-Za-z_][A-Za-z0-9_]*(?:\.name)?)\}")
_BYTES, _DEPTH, _NODES = 2**20, 40, 100_000


def read_recipe(path: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a file with its references filled in from `settings` and from itself.

    Raises ValueError for a file that is no plain mapping with a list `operators`, is larger than
    1 MiB, or has any other reference, and OSError when it cannot be read.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size > _BYTES:
        raise ValueError(f"recipe: expected a file of at most {_BYTES} bytes, got {path}")
    try:
        plain = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise ValueError(f"recipe: {path} is no plain YAML: {first}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("operators"), list):
        raise ValueError(f"recipe: expected a mapping with a list 'operators' in {path}")
    if "defaults" in plain or "hydra" in plain:
        raise ValueError(
            f"recipe: {path} has 'defaults' or 'hydra', which only a configuration has"
        )
    model = settings.get("model") or {}
    given = {**settings, "model.name": model.get("name")}
    walk = _Walk({n: given.get(n) for n in SETTINGS}, plain)
    return {str(k): walk.value(v, str(k), 0) for k, v in plain.items()}


class _Walk:
    """References filled in, with a bound on how much there is of it."""

    def __init__(self, settings: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
        self.settings, self.recipe, self.seen = settings, recipe, 0

    def value(self, value: Any, where: str, depth: int) -> Any:
        self.seen += 1
        if self.seen > _NODES or depth > _DEPTH:
            raise ValueError(
                f"recipe: expected at most {_NODES} values, {_DEPTH} levels deep, at {where[:80]}"
            )
        if isinstance(value, dict):
            wrong = [k for k in value if "${" in str(k)]
            if wrong:
                raise ValueError(f"recipe: {where}: expected a plain name, got {wrong[0]!r}")
            return {k: self.value(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.value(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        match = _REFERENCE.fullmatch(value.strip())
        source = self.recipe if match and match[1] else self.settings
        if match is None or match[2] not in source or (match[1] and match[2] == "operators"):
            known = ", ".join(f"${{{n}}}" for n in SETTINGS)
            raise ValueError(
                f"recipe: {where}: {value!r} is refused: in a recipe given as data only {known} and"
                " ${recipe.NAME} stand for something"
            )
        given = source[match[2]]
        return self.value(given, where, depth + 1) if match[1] else given
