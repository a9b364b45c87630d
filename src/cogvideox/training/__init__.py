"""Training: one loop, one step per model."""
