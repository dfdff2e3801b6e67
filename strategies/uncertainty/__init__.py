"""Uncertainty of a model's predictions."""
