"""Distilled data sets: what they are, where they are kept, and what makes them."""

from coreset.synthetic.dataset import Synthetic
from coreset.synthetic.distiller import Distiller, Source, Teacher, distill
from coreset.synthetic.progress import Diverged, Progress

__all__ = ["Distiller", "Diverged", "Progress", "Source", "Synthetic", "Teacher", "distill"]
