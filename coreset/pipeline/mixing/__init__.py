"""Mixing: how often each domain is seen, what it should weigh, common entries thinned out, a spread over strata, a spread over the forms of instructions."""

from coreset.pipeline.mixing.doremi import DoReMi
from coreset.pipeline.mixing.entries import BalanceEntries
from coreset.pipeline.mixing.repeat import RepeatFactor
from coreset.pipeline.mixing.repeat_exact import RepeatExact
from coreset.pipeline.mixing.stratified import StratifiedSample
from coreset.pipeline.mixing.templates import TemplateQuota

__all__ = ["BalanceEntries", "DoReMi", "RepeatExact", "RepeatFactor", "StratifiedSample", "TemplateQuota"]
