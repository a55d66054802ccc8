"""Around fusion: what a vote weighs, how good raters are, and how much the method matters."""
