"""Detection and segmentation without our trainer: score, aggregate, select, over image ids.

A pool comes from `coreset.Pool.from_coco`, boxes from `Detections.from_...`; `select` returns an `ImageSelection`, which writes itself for tools and trainers.
"""

from coreset.coco import CocoPool
from coreset.tasks.aggregate import ImageScores, aggregate
from coreset.tasks.boxes import Detections
from coreset.tasks.chosen import ImageSelection
from coreset.tasks.cost import box_cost, calibration, expected_boxes, pixel_cost, recalibrate, seconds
from coreset.tasks.distance import BoxSets
from coreset.tasks.frequency import object_frequency
from coreset.tasks.images import crop_features, foreground, predicted_class
from coreset.tasks.ledger import Ledger
from coreset.tasks.medoids import landmark_features
from coreset.tasks.methods import OverCrops, RandomForeground, WithEmpty
from coreset.tasks.ppal import class_quality, dcus, difficulty_weights
from coreset.tasks.regions import Regions
from coreset.tasks.roi import detect
from coreset.tasks.score import box_scores
from coreset.tasks.segmentation import SegmentationScorer
from coreset.tasks.select import select
from coreset.tasks.simulate import simulate

__all__ = [
    "BoxSets",
    "CocoPool",
    "Detections",
    "ImageScores",
    "ImageSelection",
    "Ledger",
    "OverCrops",
    "RandomForeground",
    "Regions",
    "SegmentationScorer",
    "WithEmpty",
    "aggregate",
    "box_cost",
    "box_scores",
    "calibration",
    "class_quality",
    "crop_features",
    "dcus",
    "detect",
    "difficulty_weights",
    "expected_boxes",
    "foreground",
    "landmark_features",
    "object_frequency",
    "pixel_cost",
    "predicted_class",
    "recalibrate",
    "seconds",
    "select",
    "simulate",
]
