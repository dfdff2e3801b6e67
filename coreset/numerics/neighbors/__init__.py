"""Distances, nearest neighbors and clusterings."""
