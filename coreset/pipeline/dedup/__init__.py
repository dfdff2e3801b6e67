"""Deduplication: exact, near (MinHash), semantic (embeddings), and against test sets. A dropped row names its twin, the row that is kept in its place."""

from coreset.pipeline.dedup.decontaminate import Decontaminate, DecontaminateEmbeddings
from coreset.pipeline.dedup.exact import ExactDuplicates
from coreset.pipeline.dedup.image import ImageDuplicates
from coreset.pipeline.dedup.near import NearDuplicates
from coreset.pipeline.dedup.semantic import SemanticDuplicates

__all__ = [
    "Decontaminate",
    "DecontaminateEmbeddings",
    "ExactDuplicates",
    "ImageDuplicates",
    "NearDuplicates",
    "SemanticDuplicates",
]
