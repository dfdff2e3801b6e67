"""Instruction data for language models."""
