"""What a run leaves: decisions, kept rows, samples for the report."""
