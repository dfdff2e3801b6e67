"""Choose the data that is worth training on."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coreset.api import certify, curate, score, score_candidates, select
    from coreset.core.pool import Pool
    from coreset.core.selection import Selection
    from coreset.core.signals import Signals
    from coreset.core.strategy import Oracle, Scorer, Strategy
    from coreset.registry import names as list_strategies
    from coreset.runs.curve import Curve, Point

    __version__: str

__all__ = [
    "Curve",
    "Oracle",
    "Point",
    "Pool",
    "Scorer",
    "Selection",
    "Signals",
    "Strategy",
    "certify",
    "curate",
    "list_strategies",
    "score",
    "score_candidates",
    "select",
]

_HOME = {  # where a public name lives; imported when it is first used
    **dict.fromkeys(("certify", "curate", "score", "score_candidates", "select"), "coreset.api"),
    "Pool": "coreset.core.pool",
    "Selection": "coreset.core.selection",
    "Signals": "coreset.core.signals",
    **dict.fromkeys(("Oracle", "Scorer", "Strategy"), "coreset.core.strategy"),
    **dict.fromkeys(("Curve", "Point"), "coreset.runs.curve"),
    "list_strategies": "coreset.registry",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("coreset-lightning")
        except PackageNotFoundError:  # a source tree that was never installed
            value = "0"
    elif name in _HOME:
        home = import_module(_HOME[name])
        value = getattr(home, "names" if name == "list_strategies" else name)
    else:
        raise AttributeError(f"module 'coreset' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
