"""From raw videos to a training set: shots, measured qualities, a policy, and shards the trainer reads."""
