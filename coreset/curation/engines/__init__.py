"""Where a recipe runs: in local processes or on Ray."""
