"""Curation: scorers, rules, fits, groups and selections as one list of operators, run by an engine."""

from coreset.batch import Batch
from coreset.pipeline.operators import Fit, Group, Operator, Rule, Select, Verdict
from coreset.pipeline.run import Curated, Settings, curate
from coreset.pipeline.scoring import score

__all__ = ["Batch", "Curated", "Fit", "Group", "Operator", "Rule", "Select", "Settings", "Verdict", "curate", "score"]
