"""Suites: data, learner, strategies, budgets and replicates; one command, one table."""
