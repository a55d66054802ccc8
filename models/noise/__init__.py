"""Learning from labels that are wrong in part."""
