"""Coverage of feature space."""
