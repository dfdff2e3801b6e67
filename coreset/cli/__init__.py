"""The commands of the library: coreset-select, coreset-curate, coreset-score."""
