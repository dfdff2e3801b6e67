"""Run with the Python of an environment that has datatrove: JSON lines through a job of
`curate_peers.py`, one process, one task.

python in_datatrove.py JOB FROM TO: TO is a folder, the rows kept lie in TO/kept.
"""

import sys
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LambdaFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.text import TextNormConfig


def text_of(document: Document) -> str:
    """Return what exact duplicates have in common."""
    return str(document.text)


def long_enough(document: Document) -> bool:
    """Return whether the length lies in the range of the job."""
    return 200 <= len(document.text) <= 100_000


def words_enough(document: Document) -> bool:
    """Return whether the number of words lies in the range of the job."""
    return 50 <= len(document.text.split()) <= 100_000


def main(job: str, source: str, target: str) -> None:
    """Run the stages of a job one after the other."""
    out = Path(target)

    def stage(*steps: Any, tasks: int = 1) -> None:
        logs = out / "logs" / str(len(list((out / "logs").glob("*"))))
        LocalPipelineExecutor(list(steps), tasks=tasks, workers=1, logging_dir=str(logs)).run()

    (out / "logs").mkdir(parents=True)
    reader = JsonlReader(str(Path(source).parent), glob_pattern=Path(source).name)
    kept = JsonlWriter(str(out / "kept"), compression=None)
    if job == "words":
        stage(reader, LambdaFilter(words_enough), kept)
    elif job == "rules":
        rules = [
            GopherRepetitionFilter(),
            C4QualityFilter(filter_no_terminal_punct=False),
            GopherQualityFilter(),
            FineWebQualityFilter(),
        ]
        stage(reader, *rules, kept)
    else:
        exact = ExactDedupConfig(content_getter=text_of)
        near = MinhashConfig(norm_config=TextNormConfig(norm_numbers=False))  # 14 bands of 8
        at = {
            name: str(out / name) for name in ("exact", "once", "unique", "keys", "pairs", "gone")
        }
        length = LambdaFilter(long_enough)
        stage(reader, length, ExactDedupSignature(at["exact"], exact))
        stage(ExactFindDedups(at["exact"], at["once"], exact))
        stage(
            reader, length, ExactDedupFilter(at["once"], exact),
            JsonlWriter(at["unique"], compression=None), MinhashDedupSignature(at["keys"], near),
        )  # fmt: skip
        stage(MinhashDedupBuckets(at["keys"], at["pairs"], config=near), tasks=near.num_buckets)
        stage(MinhashDedupCluster(at["pairs"], at["gone"], config=near))
        stage(JsonlReader(at["unique"]), MinhashDedupFilter(at["gone"]), kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
