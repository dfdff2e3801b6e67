"""Put several runs side by side: see `--help`."""

import sys

sys.path = [p for p in sys.path if not p.endswith("scripts")]  # select.py here would hide the standard library's

from coreset.trainers.app import compare_main  # noqa: E402

if __name__ == "__main__":
    sys.exit(compare_main())
