"""The colours of a slide: which stains it holds, how it looks under another's, and how it might look."""
