"""Mixing: how often each domain is seen, what it should weigh, common entries thinned out, a spread
over strata, a spread over the forms of instructions.
"""

from coreset.curation.operators.mixing.doremi import DoReMi
from coreset.curation.operators.mixing.entries import BalanceEntries
from coreset.curation.operators.mixing.repeat import RepeatFactor
from coreset.curation.operators.mixing.repeat_exact import RepeatExact
from coreset.curation.operators.mixing.stratified import StratifiedSample
from coreset.curation.operators.mixing.templates import TemplateQuota

__all__ = [
    "BalanceEntries",
    "DoReMi",
    "RepeatExact",
    "RepeatFactor",
    "StratifiedSample",
    "TemplateQuota",
]
