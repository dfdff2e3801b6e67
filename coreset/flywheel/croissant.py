"""Croissant metadata of a version: what data-set search engines and ML loaders read.

Akhtar et al., "Croissant: A Metadata Format for ML-Ready Datasets", 2024 (arXiv:2403.19546), 1.0.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from coreset.core.store import to_json, write_atomic
from coreset.flywheel.versions import Version

_COLUMNS = (
    ("id", "sc:Text", "id of the example"),
    ("label", "sc:Integer", "number of the class"),
    ("reason", "sc:Text", "why the row is in, or has its label"),
    ("turn", "sc:Integer", "turn that put it in, 0 for the start"),
)


def write_croissant(folder: Path, version: Version, name: str, license_url: str) -> Path:
    """Write `<version>.croissant.json` beside a saved version and return its path.

    name: of the data set; license_url: of its terms. Raises FileNotFoundError where the version has
    not been saved.
    """
    file = folder / f"{version.name}.parquet"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    source = {"fileObject": {"@id": file.name}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"rows/{column}",
            "name": column,
            "description": about,
            "dataType": kind,
            "source": {**source, "extract": {"column": column}},
        }
        for column, kind, about in _COLUMNS
    ]
    about = {
        "@context": {
            "@language": "en",
            "@vocab": "https://schema.org/",
            "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "conformsTo": "dct:conformsTo",
            "extract": "cr:extract",
            "column": "cr:column",
            "field": "cr:field",
            "fileObject": "cr:fileObject",
            "recordSet": "cr:recordSet",
            "source": "cr:source",
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "version": f"{version.number}.0.0",
        "description": f"Version {version.name} of a training set: {len(version)} rows.",
        "license": license_url,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.name,
                "name": file.name,
                "contentUrl": file.name,
                "encodingFormat": "application/x-parquet",
                "sha256": digest,
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}],
    }
    return write_atomic(folder / f"{version.name}.croissant.json", to_json(about, indent=1))
