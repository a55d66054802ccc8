"""Handing slides out to annotators, and knowing what comes back as whose reading of what."""
