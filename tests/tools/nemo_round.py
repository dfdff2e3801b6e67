"""Run with the Python of an environment that has NeMo Curator and this package: JSON lines through
a pipeline of its reader, our stage and its writer.

python nemo_round.py FROM TO DROPPED OPERATORS: OPERATORS is a JSON list.
"""

import json
import sys

from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.text.io.reader import JsonlReader
from nemo_curator.stages.text.io.writer import JsonlWriter

from coreset.curation.nemo_curator import RowWise


def main(source: str, target: str, dropped: str, operators: str) -> None:
    pipeline = Pipeline(
        name="rows",
        stages=[
            JsonlReader(file_paths=source, files_per_partition=1),
            RowWise(json.loads(operators), dropped=dropped),
            JsonlWriter(target),
        ],
    )
    pipeline.run(RayDataExecutor())


if __name__ == "__main__":
    main(*sys.argv[1:])
