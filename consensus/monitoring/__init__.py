"""Where a study stands: the parts of what `status` says."""
