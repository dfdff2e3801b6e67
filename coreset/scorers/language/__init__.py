"""Scores of a causal language model: perplexity, answer loss, IFD and its variants."""
