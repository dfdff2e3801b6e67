"""Fitted filters of a corpus: GPT-3's quality classifier, DSIR's importance weights, QuRating's
ratings, DataComp's clusters of a reference set and its best share.
"""

from coreset.curation.operators.quality.classifier import QualityClassifier
from coreset.curation.operators.quality.dsir import Dsir
from coreset.curation.operators.quality.pairwise import PairwiseRatings
from coreset.curation.operators.quality.reference import ReferenceClusters
from coreset.curation.operators.quality.share import DataCompShare

__all__ = ["DataCompShare", "Dsir", "PairwiseRatings", "QualityClassifier", "ReferenceClusters"]
