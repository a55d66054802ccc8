"""What is disputed: where it lies, in which order it is worth a look, and what was decided before."""
