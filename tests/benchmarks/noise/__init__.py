"""What noise-robust learning gains: frozen before any method was written."""
