"""From the store to ratings: which reads count, and what of them is rated on each slide."""
