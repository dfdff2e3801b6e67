"""Compare curation with peers from PyPI and with the plain loops, on one thread, equal answers
first.

python scripts/benchmarks/curate.py --all          every row: results/curate/*.json and table.md
python scripts/benchmarks/curate.py overhead_pages some rows python scripts/benchmarks/curate.py
the table again from the files python scripts/benchmarks/curate.py --all --quick  tiny sizes, one
trial, nothing written: does everything run?

Rows stand in scripts/benchmarks/rows_curate/*.py, each file with a dict ROWS. Real text comes from
`python scripts/fetch_assets.py llamafactory`, models from `smollm2` and `minilm`; the peers live in
an environment of their own: scripts/benchmarks/requirements.txt and this project.
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
for file in sorted((Path(__file__).parent / "rows_curate").glob("*.py")):
    ROWS |= import_module(f"scripts.benchmarks.rows_curate.{file.stem}").ROWS

if __name__ == "__main__":
    runner.main(ROWS, __doc__, Path("results/curate"), "Curation against peers and plain loops")
