"""Models trained on releases. Nothing here yet."""
