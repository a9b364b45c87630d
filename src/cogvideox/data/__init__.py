"""Data for training: records, curation, captions, shards, latent caches, and the rendered stage world."""
