"""One run of a recipe: checks, checkpoints, partitions, groups, row ids."""
