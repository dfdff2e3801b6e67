"""Fitted filters of a corpus: GPT-3's quality classifier, DSIR's importance weights, QuRating's ratings, DataComp's clusters of a reference set and its best share."""

from coreset.pipeline.quality.classifier import QualityClassifier
from coreset.pipeline.quality.dsir import Dsir
from coreset.pipeline.quality.pairwise import PairwiseRatings
from coreset.pipeline.quality.reference import ReferenceClusters
from coreset.pipeline.quality.share import DataCompShare

__all__ = ["DataCompShare", "Dsir", "PairwiseRatings", "QualityClassifier", "ReferenceClusters"]
