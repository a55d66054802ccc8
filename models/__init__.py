"""Models that learn from releases."""
