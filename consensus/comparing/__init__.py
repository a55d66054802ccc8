"""Beside the figures of all raters: each against another, finding against naming, two arms."""
