"""The data flywheel: find where a model is weak, buy the rows that help, and prove it."""

from coreset.flywheel.data import FlywheelData
from coreset.flywheel.flywheel import Flywheel
from coreset.flywheel.freeze import Freeze
from coreset.flywheel.stage import STAGES, Artifact, Stage, Turn
from coreset.flywheel.versions import Version

__all__ = ["STAGES", "Artifact", "Flywheel", "FlywheelData", "Freeze", "Stage", "Turn", "Version"]
