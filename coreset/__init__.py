"""Choose the data that is worth training on."""

from importlib.metadata import PackageNotFoundError, version

from coreset.api import certify, curate, score, score_candidates, select
from coreset.core.pool import Pool
from coreset.core.selection import Selection
from coreset.core.signals import Signals
from coreset.core.strategy import Oracle, Scorer, Strategy
from coreset.registry import names as list_strategies
from coreset.runs.curve import Curve, Point

try:
    __version__ = version("coreset-lightning")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"

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
