"""Mixing: how often each domain is seen, a spread over strata, a spread over the forms of instructions."""

from coreset.pipeline.mixing.repeat import RepeatFactor
from coreset.pipeline.mixing.stratified import StratifiedSample
from coreset.pipeline.mixing.templates import TemplateQuota

__all__ = ["RepeatFactor", "StratifiedSample", "TemplateQuota"]
