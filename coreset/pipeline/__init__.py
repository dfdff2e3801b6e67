"""Curation: scorers, rules, fits, groups and selections as one list of operators, run by an engine."""

from coreset.batch import Batch
from coreset.pipeline.operators import Fit, Group, Operator, Rule, Select, Verdict

__all__ = ["Batch", "Fit", "Group", "Operator", "Rule", "Select", "Verdict"]
