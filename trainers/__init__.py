"""Training with PyTorch Lightning: tasks, data, loops, commands."""
