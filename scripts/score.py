"""Score rows of text: see `--help`."""

from coreset.cli.curate import score_main

if __name__ == "__main__":
    score_main()
