"""Rules over the columns of `coreset.scorers.text`, with the published thresholds as defaults. A dropped row carries every rule it fails, not the first alone."""

from coreset.pipeline.rules.boilerplate import BoilerplateRule
from coreset.pipeline.rules.c4 import C4Rule
from coreset.pipeline.rules.entries import HasEntry
from coreset.pipeline.rules.exempt import Exempt
from coreset.pipeline.rules.fineweb import FineWebRule
from coreset.pipeline.rules.gopher import GopherQualityRule, GopherRepetitionRule
from coreset.pipeline.rules.images import ReadableImage
from coreset.pipeline.rules.language import LanguageRule
from coreset.pipeline.rules.pareto import ParetoRule
from coreset.pipeline.rules.repetition import RepetitionRule
from coreset.pipeline.rules.url import UrlRule

__all__ = [
    "BoilerplateRule",
    "C4Rule",
    "Exempt",
    "FineWebRule",
    "GopherQualityRule",
    "GopherRepetitionRule",
    "HasEntry",
    "LanguageRule",
    "ParetoRule",
    "ReadableImage",
    "RepetitionRule",
    "UrlRule",
]
