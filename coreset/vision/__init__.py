"""Detection and segmentation without our trainer: score, aggregate, select, over image ids.

A pool comes from `CocoPool.from_coco`, boxes from `Detections.from_...`; `select` returns an
`ImageSelection`, which writes itself for tools and trainers.
"""

from coreset.vision.aggregate import ImageScores, aggregate
from coreset.vision.boxes import Detections
from coreset.vision.chosen import ImageSelection
from coreset.vision.coco import CocoPool
from coreset.vision.cost import (
    box_cost,
    calibration,
    expected_boxes,
    pixel_cost,
    recalibrate,
    seconds,
)
from coreset.vision.distance import BoxSets
from coreset.vision.frequency import object_frequency
from coreset.vision.images import crop_features, foreground, predicted_class
from coreset.vision.ledger import Ledger
from coreset.vision.medoids import landmark_features
from coreset.vision.methods import OverCrops, RandomForeground, WithEmpty
from coreset.vision.ppal import class_quality, dcus, difficulty_weights
from coreset.vision.regions import Regions
from coreset.vision.roi import detect
from coreset.vision.score import box_scores
from coreset.vision.segmentation import SegmentationScorer
from coreset.vision.select import select
from coreset.vision.simulate import simulate

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
