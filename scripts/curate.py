"""Run a recipe over rows of text: see `--help`."""

from coreset.cli.curate import curate_main

if __name__ == "__main__":
    curate_main()
