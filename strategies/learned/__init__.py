"""Strategies with a learned component."""
