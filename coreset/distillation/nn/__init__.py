"""Networks and differentiable image operations of dataset distillation."""
