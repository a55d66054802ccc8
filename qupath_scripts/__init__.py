"""Groovy scripts that run inside QuPath."""
