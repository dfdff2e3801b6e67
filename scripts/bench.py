"""Measure selection strategies on a data set: see `--help`."""

from coreset.trainers.bench.app import main

if __name__ == "__main__":
    main()
