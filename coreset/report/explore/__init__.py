"""The table behind `coreset-explore`: every row of a run, and what became of it."""
