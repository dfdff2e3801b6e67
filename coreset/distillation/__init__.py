"""Distilled data sets: what they are, where they are kept, and what makes them."""

from coreset.distillation.dataset import Synthetic
from coreset.distillation.distiller import Distiller, Source, Teacher, distill, distiller
from coreset.distillation.progress import Diverged, Progress

__all__ = [
    "Distiller",
    "Diverged",
    "Progress",
    "Source",
    "Synthetic",
    "Teacher",
    "distill",
    "distiller",
]
