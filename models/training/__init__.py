"""One training loop for every model: its settings, its data, its checkpoints."""
