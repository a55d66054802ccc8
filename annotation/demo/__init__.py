"""The demo: generated slides, simulated pathologists, and the walk through a study."""
