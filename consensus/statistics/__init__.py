"""Coefficients, their standard errors, intervals and the estimation behind fusion; pure numpy."""
