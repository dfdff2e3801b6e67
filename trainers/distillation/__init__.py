"""Distilled sets in the loops."""
