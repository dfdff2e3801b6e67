"""The loops prune and active, training, label sources, loggers."""
