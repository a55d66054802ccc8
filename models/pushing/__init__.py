"""Predictions on their way into QuPath."""
