"""Classifiers of bags: slides as sets of tiles."""
