"""Checkpoint directories in the diffusers layout: load, save, check."""
