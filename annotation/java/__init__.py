"""What runs in the process that holds QuPath, beside :mod:`annotation.qupath` which starts it."""
