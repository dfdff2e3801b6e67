"""Language models in the loops."""
