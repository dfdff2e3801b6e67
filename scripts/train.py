"""Train on chosen subsets: see `--help`."""

from coreset.trainers.app import main

if __name__ == "__main__":
    main()
