"""Curation: scorers, filters, estimators, groups and selections as one list of operators,
run by an engine.
"""

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Estimator, Filter, GroupBy, Operator, Selector
from coreset.curation.run import Curated, Settings, curate
from coreset.curation.score import score

__all__ = [
    "Batch",
    "Curated",
    "Decision",
    "Estimator",
    "Filter",
    "GroupBy",
    "Operator",
    "Selector",
    "Settings",
    "curate",
    "score",
]
