"""Train on chosen subsets: see `--help`."""

import sys

sys.path = [p for p in sys.path if not p.endswith("scripts")]  # select.py here would hide the standard library's

from coreset.trainers.app import main  # noqa: E402

if __name__ == "__main__":
    main()
