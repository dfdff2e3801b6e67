"""A language model behind an endpoint as the judge of rows: rubric in, number out, every reply paid
for once.
"""

from coreset.scorers.judge.scorer import Judge

__all__ = ["Judge"]
