"""Watching a model at work: have slides, predictions or readers changed against the reference?"""
