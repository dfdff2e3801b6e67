"""Curation: scorers, rules, fits, groups and selections as one list of operators, run by an engine."""

from coreset.core.batch import Batch
from coreset.curation.operators.base import Fit, Group, Operator, Rule, Select, Verdict
from coreset.curation.run import Curated, Settings, curate
from coreset.curation.score import score

__all__ = ["Batch", "Curated", "Fit", "Group", "Operator", "Rule", "Select", "Settings", "Verdict", "curate", "score"]
