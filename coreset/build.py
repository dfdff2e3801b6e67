"""Objects from configurations: every class is resolved and checked before anything is called.

A configuration is plain data: a mapping with `_target_`, the dotted path of a class, and its
options. Whoever writes one names code, so `trusted` says who wrote it: the user himself (command
line, configuration folder), or somebody else (a recipe, a run folder, a manifest given as data),
which is the default. SECURITY.md states the policy.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from coreset.targets import KINDS, Kinds, by_name, configured, is_kind, kinds_of, resolve, words

_DEPTH, _NODES = 40, 100_000
_ALWAYS = frozenset({"_target_", "_partial_", "_convert_"})
_KEYS = frozenset({"key_variable", "token"})  # options that name a variable with a secret
_WORDS = _ALWAYS | {"_args_", "_recursive_"}


def build(config: Any, kind: str | type | tuple[type, ...], *, trusted: bool = False) -> Any:
    """Return the object of one configuration, or the objects of a list of them.

    kind: "strategy", "scorer", "operator", "engine" or "model", or classes that the object must
    be of. trusted: False for what somebody else wrote: then a target is a class of the packages
    coreset, strategies and trainers or a registered plug-in (entry point), of the right kind, or a
    function that our own configuration folder names and that is annotated to return that kind; no
    other module is imported. True for the user's own command line and configuration folder: any
    module, and functions as factories of models and of classes given as `kind`. With `_partial_`
    a model, or an object of given classes, is handed over as a factory. All targets are checked
    before the first is called. No text is interpolated: `${oc.env:HOME}` stays the text it is.
    Raises TypeError for a target of another kind or an unknown option, ValueError for one that is
    refused, ImportError for one that is not there.

    >>> build({"_target_": "coreset.strategies.uncertainty.margin.Margin"}, "strategy").greedy
    True
    >>> build({"_target_": "pathlib.Path.write_text", "data": "b"}, "operator")
    Traceback (most recent call last):
        ...
    ValueError: operator: 'pathlib.Path.write_text' is refused: it is neither ...
    """
    what, kinds = kinds_of(kind)
    walk = _Walk(trusted)
    if isinstance(config, Sequence) and not isinstance(config, str):
        plans = [walk.top(c, f"{what}[{i}]", kinds, kind) for i, c in enumerate(config)]
        return [_call(p) for p in plans]
    return _call(walk.top(config, what, kinds, kind))


def build_options(options: Any, where: str, *, trusted: bool = False) -> Any:
    """Return the options of an object with every target inside built, of any kind of ours.

    Raises what `build` does. where: what the message calls them.

    >>> part = {"_target_": "coreset.scorers.length.Length"}
    >>> build_options({"k": [1, part]}, "options")["k"][1].unit
    'words'
    """
    return _call(_Walk(trusted).value(options, where, _all_kinds(), 0))


def _all_kinds() -> Kinds:
    return tuple(dict.fromkeys(k for name in KINDS for k in kinds_of(name)[1]))


@dataclass
class _Plan:
    """One target that has been checked, with its options, plans among them."""

    where: str
    target: Any
    kinds: Kinds
    partial: bool
    arguments: Any = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Walk:
    """The check of one configuration: counts its values, calls nothing."""

    trusted: bool
    seen: int = 0

    def top(self, config: Any, where: str, kinds: Kinds, kind: Any) -> _Plan:
        try:
            config = by_name(config, kind)
        except (KeyError, TypeError) as error:
            raise type(error)(f"{where}: {error.args[0]}") from error
        if not isinstance(config, Mapping) or "_target_" not in config:
            raise TypeError(f"{where}: expected a mapping with '_target_', got {_short(config)}")
        if config.get("_partial_") and isinstance(kind, str) and kind != "model":
            raise TypeError(f"{where}: expected a {kind}, '_partial_' makes a factory of it")
        return self.target(config, where, kinds, not isinstance(kind, str) or kind == "model", 0)

    def value(self, value: Any, where: str, kinds: Kinds, depth: int) -> Any:
        """Return a value with every mapping that names a target as a plan."""
        self.seen += 1
        if depth > _DEPTH or self.seen > _NODES:
            raise ValueError(f"{where}: expected at most {_NODES} values, {_DEPTH} levels deep")
        if isinstance(value, Mapping):
            if "_target_" in value:
                return self.target(value, where, kinds, False, depth)
            odd = sorted(k for k in value if k in _WORDS)
            if odd:
                raise ValueError(f"{where}: {', '.join(odd)} without '_target_'")
            return {k: self.value(v, f"{where}.{k}", kinds, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            parts = enumerate(value)
            return [self.value(v, f"{where}[{i}]", kinds, depth + 1) for i, v in parts]
        if not (self.trusted or value is None or isinstance(value, str | bool | int | float)):
            raise ValueError(f"{where}: expected plain data, got {type(value).__name__}")
        return value

    def target(self, config: Any, where: str, kinds: Kinds, factories: bool, depth: int) -> _Plan:
        """Return the plan of a mapping that names a target. factories: whether any function may."""
        name = config["_target_"]
        if not isinstance(name, str):
            raise ValueError(f"{where}: expected a dotted path in '_target_', got {_short(name)}")
        options = {k: v for k, v in config.items() if k not in _WORDS}
        odd = [str(k) for k in config if not isinstance(k, str) or k in _WORDS - _ALWAYS]
        if odd and not self.trusted:
            raise ValueError(f"{where}: {', '.join(odd)} is refused: expected options by name")
        partial = bool(config.get("_partial_", False))
        if partial and not self.trusted and name not in configured():
            raise ValueError(f"{where}: _partial_ is refused: expected an object, no factory")
        target = resolve(name, where, kinds, self.trusted, factories)
        _check_options(where, name, target, options)
        if not self.trusted:
            _check_keys(where, target, options)
        inner = tuple(dict.fromkeys([*kinds, *_all_kinds()]))
        args = self.value(list(config.get("_args_") or ()), where, inner, depth)
        plan = _Plan(where, target, kinds, partial, args)
        for key, value in options.items():
            plan.options[key] = self.value(value, f"{where}.{key}", inner, depth + 1)
        return plan


def _check_options(where: str, name: str, target: Any, options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that a target does not take, with the nearest it has."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # a class written in C says nothing
        return
    if any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            near = difflib.get_close_matches(str(option), parameters, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ";"
            known = ", ".join(parameters) or "none"
            raise TypeError(f"{where}: {name} has no option '{option}'{hint} its options: {known}")


def _check_keys(where: str, target: Any, options: Mapping[str, Any]) -> None:
    """Raise ValueError for a target that would send a key of this environment to a server which
    somebody else names: another variable than its own, or an address that is not this machine.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # a class written in C reads no key
        return
    for option in _KEYS & parameters.keys():
        own = parameters[option].default
        variable = options.get(option, own)
        if variable is not None and variable != own:
            raise ValueError(
                f"{where}: {option}={_short(variable)} is refused: which variable of your"
                " environment is sent as a key is said on your own command line"
            )
        url = options.get("url", parameters["url"].default if "url" in parameters else "")
        if variable and os.environ.get(variable) and not _is_local(url):
            raise ValueError(
                f"{where}: url={_short(url)} is refused: your key in {variable} would be sent"
                " there; unset it, or name the server on your own command line"
            )


def _is_local(url: Any) -> bool:
    try:
        return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    except (TypeError, ValueError, AttributeError):
        return False


def _call(value: Any) -> Any:
    """Call the targets of a checked plan, the inner ones first."""
    if isinstance(value, Mapping):
        return {k: _call(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_call(v) for v in value]
    if not isinstance(value, _Plan):
        return value
    arguments, options = _call(value.arguments), _call(value.options)
    if value.partial:
        return functools.partial(value.target, *arguments, **options)
    result = value.target(*arguments, **options)
    steps = result if isinstance(result, list | tuple) and result else [result]
    if not all(is_kind(type(step), value.kinds) for step in steps):
        got = type(result).__name__
        raise TypeError(f"{value.where}: expected {words(value.kinds)}, got {got}")
    return result


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
