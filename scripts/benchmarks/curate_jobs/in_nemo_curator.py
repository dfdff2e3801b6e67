"""Run with the Python of an environment that has NeMo Curator: JSON lines through a job of
`curate_peers.py`, on one processor of Ray.

python in_nemo_curator.py JOB FROM TO: TO is a folder, the rows kept lie in TO/kept.
"""

import sys

import ray
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.text.filters import ScoreFilter
from nemo_curator.stages.text.filters.heuristic import (
    BoilerPlateStringFilter,
    BulletsFilter,
    CommonEnglishWordsFilter,
    EllipsisFilter,
    MeanWordLengthFilter,
    NonAlphaNumericFilter,
    PunctuationFilter,
    SymbolsToWordsFilter,
    WordCountFilter,
    WordsWithoutAlphabetsFilter,
)
from nemo_curator.stages.text.filters.heuristic.repetition import (
    RepeatedLinesByCharFilter,
    RepeatedLinesFilter,
    RepeatedParagraphsByCharFilter,
    RepeatedParagraphsFilter,
    RepeatingDuplicateNGramsFilter,
    RepeatingTopNGramsFilter,
)
from nemo_curator.stages.text.io.reader import JsonlReader
from nemo_curator.stages.text.io.writer import JsonlWriter


def main(job: str, source: str, target: str) -> None:
    """Run the job's filters between the reader and the writer."""
    if job == "words":
        filters = [WordCountFilter(min_words=50, max_words=100_000)]
    elif job == "rules":  # its own heuristics after Gopher and C4, at their defaults
        filters = [
            WordCountFilter(), MeanWordLengthFilter(), SymbolsToWordsFilter(), BulletsFilter(),
            EllipsisFilter(), WordsWithoutAlphabetsFilter(), CommonEnglishWordsFilter(),
            NonAlphaNumericFilter(), PunctuationFilter(), BoilerPlateStringFilter(),
            RepeatedLinesFilter(), RepeatedParagraphsFilter(), RepeatedLinesByCharFilter(),
            RepeatedParagraphsByCharFilter(),
            *(RepeatingTopNGramsFilter(n=n) for n in (2, 3, 4)),
            *(RepeatingDuplicateNGramsFilter(n=n) for n in (5, 6, 7, 8, 9, 10)),
        ]  # fmt: skip
    else:
        # its exact and fuzzy duplicates work on cudf frames: where there is none, this is the error
        import nemo_curator.stages.deduplication.exact.workflow
        import nemo_curator.stages.deduplication.fuzzy.workflow  # noqa: F401

        raise SystemExit("duplicates on a GPU are not measured here")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    stages = [
        JsonlReader(file_paths=source, files_per_partition=1),
        *(ScoreFilter(f, text_field="text") for f in filters),
        JsonlWriter(f"{target}/kept"),
    ]
    Pipeline(name=job, stages=stages).run(RayDataExecutor())


if __name__ == "__main__":
    main(*sys.argv[1:])
