"""Gradients: matching, embeddings, influence."""
