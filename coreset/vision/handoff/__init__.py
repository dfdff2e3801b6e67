"""What annotation tools give back: their own files read, every image known by its file name."""

from coreset.vision.handoff.coco import read_coco
from coreset.vision.handoff.cvat import read_cvat
from coreset.vision.handoff.label_studio import read_label_studio
from coreset.vision.handoff.masks import class_maps, write_masks
from coreset.vision.handoff.returned import Returned
from coreset.vision.handoff.yolo import read_yolo

__all__ = [
    "Returned",
    "class_maps",
    "read_coco",
    "read_cvat",
    "read_label_studio",
    "read_yolo",
    "write_masks",
]
