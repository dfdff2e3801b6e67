"""Deduplication: exact, near (MinHash), semantic (embeddings), and against test sets. A dropped row
names its duplicate_of, the row that is kept in its place.
"""

from coreset.curation.operators.dedup.decontaminate import Decontaminate, DecontaminateEmbeddings
from coreset.curation.operators.dedup.exact import ExactDuplicates
from coreset.curation.operators.dedup.image import ImageDuplicates
from coreset.curation.operators.dedup.near import NearDuplicates
from coreset.curation.operators.dedup.semantic import SemanticDuplicates

__all__ = [
    "Decontaminate",
    "DecontaminateEmbeddings",
    "ExactDuplicates",
    "ImageDuplicates",
    "NearDuplicates",
    "SemanticDuplicates",
]
