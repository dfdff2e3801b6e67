"""Data sets of the loops and their batches."""
