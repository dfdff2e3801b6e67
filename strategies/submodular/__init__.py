"""Submodular set functions under greedy maximization."""
