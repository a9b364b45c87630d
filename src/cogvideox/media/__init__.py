"""Pixels and files: the Video value, reading and writing, legal sizes."""
