"""Classifiers of the six kinds of bad video, on what curation measures of a clip."""
