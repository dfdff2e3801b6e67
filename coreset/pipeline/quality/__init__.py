"""Fitted filters of a corpus: GPT-3's quality classifier and DSIR's importance weights."""

from coreset.pipeline.quality.classifier import QualityClassifier
from coreset.pipeline.quality.dsir import Dsir

__all__ = ["Dsir", "QualityClassifier"]
