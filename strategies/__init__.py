"""Selection strategies and distillation methods, one a file, a folder per family."""
