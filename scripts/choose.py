"""Choose from columns on disk: see `--help`."""

from coreset.cli.select import select_main

if __name__ == "__main__":
    select_main()
