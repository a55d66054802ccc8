"""Ratings, agreement, fusion, disputes, releases and reports."""
