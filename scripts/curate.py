"""Run a recipe over rows of text: see `--help`."""

import sys

sys.path = [p for p in sys.path if not p.endswith("scripts")]  # select.py here would hide the standard library's

from coreset.cli.curate import curate_main  # noqa: E402

if __name__ == "__main__":
    curate_main()
