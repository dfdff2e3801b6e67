"""Compare the image half of curation with the plain loops, the released rules and the models' own
passes, on one thread, equal answers first.

python scripts/benchmarks/multimodal.py --all          every row: results/multimodal/*.json and
table.md python scripts/benchmarks/multimodal.py decode_once    some rows python
scripts/benchmarks/multimodal.py                the table again from the files python
scripts/benchmarks/multimodal.py --all --quick  tiny sizes, one trial, nothing written: does
everything run?

Rows stand in scripts/benchmarks/rows_multimodal/*.py, each file with a dict ROWS. Drawings come
from the Debian package openclipart-png, text from `python scripts/fetch_assets.py llamafactory`;
pyahocorasick lives in scripts/benchmarks/requirements.txt with the other peers.
"""

import sys
from pathlib import Path

# this file's own folder would hide the package `strategies`
sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

from collections.abc import Callable  # noqa: E402
from importlib import import_module  # noqa: E402

from scripts.benchmarks import runner  # noqa: E402
from scripts.benchmarks.harness import Row  # noqa: E402

ROWS: dict[str, Callable[[float], Row]] = {}
for file in sorted((Path(__file__).parent / "rows_multimodal").glob("*.py")):
    ROWS |= import_module(f"scripts.benchmarks.rows_multimodal.{file.stem}").ROWS

if __name__ == "__main__":
    runner.main(
        ROWS,
        __doc__,
        Path("results/multimodal"),
        "Images and captions against plain loops and the models themselves",
    )
