"""Combinators: strategies made of strategies."""
