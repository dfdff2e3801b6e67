"""Put several runs side by side: see `--help`."""

import sys

from coreset.trainers.app import compare_main

if __name__ == "__main__":
    sys.exit(compare_main())
