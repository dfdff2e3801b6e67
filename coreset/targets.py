"""Targets of configurations, resolved: which dotted paths may be named, and of which kind they are.

Importing a module runs it, so a path that somebody else wrote is compared with what is ours and
what is registered before any module of its name is touched.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from coreset import registry
from coreset.core.engine import Engine
from coreset.core.strategy import Scorer, Strategy

Kinds = tuple[type | str, ...]  # a class by its dotted path costs no import
KINDS = ("strategy", "scorer", "operator", "engine", "model")
PACKAGES = ("coreset",)
GROUPS = (
    "coreset.strategies", "coreset.distillers", "coreset.scorers", "coreset.operators",
    "coreset.image_scorers",
)  # fmt: skip
NAMED = {  # kinds whose parts may be given by name
    "strategy": ("coreset.strategies", "coreset.distillers"),
    "scorer": ("coreset.scorers",),
    "operator": ("coreset.scorers", "coreset.operators"),
}
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")


def conf_dir() -> Path:
    """Return the folder of the configuration: installed here, or at the top of a source tree."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "conf"


@cache
def named_kinds(name: str) -> Kinds:
    """Return the classes of a kind by its name."""
    if name == "strategy":
        return (Strategy, "coreset.distillation.distiller.Distiller")
    if name == "model":
        return ("torch.nn.modules.module.Module",)
    if name == "engine":
        return (Engine,)
    if name == "scorer":
        return (Scorer,)
    if name == "operator":
        base = "coreset.curation.operators.base"
        return (Scorer, *(f"{base}.{n}" for n in ("Filter", "Estimator", "GroupBy", "Selector")))
    raise ValueError(f"kind: expected one of {', '.join(KINDS)}, or classes, got {name!r}")


def kinds_of(kind: str | type | tuple[type, ...]) -> tuple[str, Kinds]:
    """Return the word for a kind and its classes. Raises ValueError for a name that is unknown."""
    if isinstance(kind, str):
        return kind, named_kinds(kind)
    classes = kind if isinstance(kind, tuple) else (kind,)
    if not classes or not all(inspect.isclass(c) for c in classes):
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, or classes, got {kind!r}")
    return words(classes), classes


def words(kinds: Kinds) -> str:
    """Return the names of classes, joined.

    >>> words((int, str))
    'int or str'
    """
    names = (k.rsplit(".", 1)[-1] if isinstance(k, str) else k.__name__ for k in kinds)
    return " or ".join(dict.fromkeys(names))


def is_kind(cls: type, kinds: Kinds) -> bool:
    """Return whether a class is of one of the kinds: a subclass, or for a protocol, of its form."""
    bases = {f"{c.__module__}.{c.__qualname__}" for c in cls.__mro__}
    for kind in kinds:
        if isinstance(kind, str):
            if kind in bases:
                return True
        elif _of_form(cls, kind) if getattr(kind, "_is_protocol", False) else issubclass(cls, kind):
            return True
    return False


def _of_form(cls: type, protocol: type) -> bool:
    """Return whether a class has every member of a protocol: as attribute or annotated field."""
    wanted = {n for n in vars(protocol) if not n.startswith("_")}
    wanted |= {"__call__"} & set(vars(protocol))
    have = set(dir(cls))
    have |= {n for c in cls.__mro__ for n in vars(c).get("__annotations__", ())}
    calls = any("__call__" in vars(c) for c in cls.__mro__)
    return wanted - {"__call__"} <= have and (calls or "__call__" not in wanted)


def by_name(config: Any, kind: Any) -> Any:
    """Return a part that is given by name with its dotted path; anything else as it is.

    `"kcenter"` and `{"top_k": {"signal": "loss"}}` become mappings with `_target_`. Raises KeyError
    for a name of that form that is not registered for `kind`, TypeError for options that are no
    mapping.
    """
    if not isinstance(kind, str) or kind not in NAMED:
        return config
    if not isinstance(config, str) and (
        not isinstance(config, dict) or len(config) != 1 or "_target_" in config
    ):
        return config
    name, options = registry.split(config)
    if not isinstance(name, str):
        raise KeyError(f"expected the name of a part, got {name!r}")
    if kind != "strategy" and name in registry.names(registry.IMAGES):
        inner = {"_target_": _dotted(name, registry.IMAGES), **options}
        name, options = "images", {"scorers": [inner]}
    for group in NAMED[kind]:
        if name in registry.names(group):
            return {"_target_": _dotted(name, group), **options}
    known = {n for group in NAMED[kind] for n in registry.names(group)}
    raise registry.unknown(kind, name, known)


def _dotted(name: str, group: str) -> str:
    return registry.entries(group)[name].value.replace(":", ".")


@cache
def registered() -> frozenset[str]:
    """Return the dotted paths that entry points of our groups name."""
    entries = (e for group in GROUPS for e in registry.entries(group).values())
    return frozenset(e.value.replace(":", ".") for e in entries)


@cache
def configured() -> frozenset[str]:
    """Return the dotted paths that our own configuration folder names as targets."""
    texts = (p.read_text(encoding="utf-8") for p in sorted(conf_dir().rglob("*.yaml")))
    names = (m for t in texts for m in re.findall(r"_target_:\s*['\"]?([\w.]+)", t))
    return frozenset(n for n in names if n.split(".")[0] in PACKAGES)


def is_ours(name: str) -> bool:
    """Return whether a dotted path lies in a package of this project, not one that hides it."""
    top = name.split(".")[0]
    if top not in PACKAGES:
        return False
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or ()) if spec else []
    home = Path(__file__).resolve().parent.parent
    return bool(places) and all(Path(p).resolve().parent == home for p in places)


def resolve(name: str, where: str, kinds: Kinds, trusted: bool, factories: bool) -> Any:
    """Return what a dotted path names, after checking that it may stand there.

    factories: whether a function that does not say what it returns may make the object, of a
    trusted configuration. Raises as `build` does.
    """
    if not _PATH.fullmatch(name):
        raise ValueError(f"{where}: expected a dotted path of names, got {name[:80]!r}")
    plugin = name in registered()
    if not (trusted or plugin or is_ours(name)):
        raise ValueError(
            f"{where}: '{name}' is refused: it is neither a class of {', '.join(PACKAGES)} nor a "
            f"registered plug-in (entry points {', '.join(GROUPS)}); other code is named on your "
            "own command line or in your own configuration folder"
        )
    target = _import(name, where)
    top = str(getattr(target, "__module__", "")).split(".")[0]
    if not (trusted or plugin or top in PACKAGES):
        raise ValueError(f"{where}: '{name}' is refused: it belongs to another package, {top!r}")
    if inspect.isclass(target):
        if not is_kind(target, kinds):
            raise TypeError(f"{where}: expected a {words(kinds)}, got the class {name}")
        return target
    if not callable(target):
        raise TypeError(
            f"{where}: expected a {words(kinds)}, got {name}, a {type(target).__name__}"
        )
    returns = returned(target)
    right = inspect.isclass(returns) and is_kind(returns, kinds)
    if not (trusted or plugin or name in configured()):
        raise ValueError(f"{where}: '{name}' is refused: it is a function, expected a class")
    if not right and (inspect.isclass(returns) or not (plugin or (trusted and factories))):
        gives = (
            f"returns {returns.__name__}" if inspect.isclass(returns) else "has no annotation of it"
        )
        raise TypeError(
            f"{where}: expected a {words(kinds)}, got the function {name}, which {gives}"
        )
    return target


def returned(function: Any) -> Any:
    """Return the class that a function is annotated to return, or None."""
    try:
        return get_type_hints(function).get("return")
    except Exception:  # an annotation may name what is not there
        return None


def _import(name: str, where: str) -> Any:
    """Return what a dotted path names: the longest module of it, and attributes of that."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        try:
            value: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise
        for at, part in enumerate(parts[cut:], cut):
            if not hasattr(value, part):
                near = difflib.get_close_matches(part, dir(value), n=3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise ImportError(f"{where}: {'.'.join(parts[:at])} has no '{part}'{hint}")
            value = getattr(value, part)
        return value
    raise ImportError(f"{where}: '{name}' cannot be imported: there is no module '{parts[0]}'")
