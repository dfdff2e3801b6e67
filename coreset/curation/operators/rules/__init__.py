"""Rules over the columns of `coreset.scorers.text`, with the published thresholds as defaults. A dropped row carries every rule it fails, not the first alone."""

from coreset.curation.operators.rules.boilerplate import BoilerplateRule
from coreset.curation.operators.rules.c4 import C4Rule
from coreset.curation.operators.rules.entries import HasEntry
from coreset.curation.operators.rules.exempt import Exempt
from coreset.curation.operators.rules.fineweb import FineWebRule
from coreset.curation.operators.rules.gopher import GopherQualityRule, GopherRepetitionRule
from coreset.curation.operators.rules.images import ReadableImage
from coreset.curation.operators.rules.language import LanguageRule
from coreset.curation.operators.rules.pareto import ParetoRule
from coreset.curation.operators.rules.repetition import RepetitionRule
from coreset.curation.operators.rules.url import UrlRule

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
