"""Rules over the columns of `coreset.scorers.text`, with the published thresholds as defaults. A
dropped row carries every rule it fails, not the first alone.
"""

from coreset.curation.operators.rules.boilerplate import BoilerplateFilter
from coreset.curation.operators.rules.c4 import C4Filter
from coreset.curation.operators.rules.entries import HasEntry
from coreset.curation.operators.rules.exempt import Exempt
from coreset.curation.operators.rules.fineweb import FineWebFilter
from coreset.curation.operators.rules.gopher import GopherQualityFilter, GopherRepetitionFilter
from coreset.curation.operators.rules.images import ReadableImage
from coreset.curation.operators.rules.language import LanguageFilter
from coreset.curation.operators.rules.pareto import ParetoFilter
from coreset.curation.operators.rules.repetition import RepetitionFilter
from coreset.curation.operators.rules.url import UrlFilter

__all__ = [
    "BoilerplateFilter",
    "C4Filter",
    "Exempt",
    "FineWebFilter",
    "GopherQualityFilter",
    "GopherRepetitionFilter",
    "HasEntry",
    "LanguageFilter",
    "ParetoFilter",
    "ReadableImage",
    "RepetitionFilter",
    "UrlFilter",
]
