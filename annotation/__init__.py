"""Slides, people, protocols and what was drawn: the versioned store and its ways in and out."""
