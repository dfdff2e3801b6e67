"""Learners: how a model is trained on chosen examples."""
