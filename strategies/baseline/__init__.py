"""Baselines: random, stratified, top k."""
