"""Operators of a recipe: filters, deduplication, mixing, quality, selection."""
