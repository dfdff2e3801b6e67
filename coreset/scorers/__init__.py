"""Row-wise scorers: columns in, columns out; any batching gives the same values."""
