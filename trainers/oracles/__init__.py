"""Oracles: where labels come from."""

from coreset.trainers.oracles.base import AwaitingLabels, Request
from coreset.trainers.oracles.drawn import Drawing
from coreset.trainers.oracles.file import LabelFile
from coreset.trainers.oracles.hidden import HiddenLabels
from coreset.trainers.oracles.label_studio import LabelStudio

__all__ = ["AwaitingLabels", "Drawing", "HiddenLabels", "LabelFile", "LabelStudio", "Request"]
