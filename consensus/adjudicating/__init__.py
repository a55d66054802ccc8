"""Adjudication in QuPath: a project that holds what is disputed, and what comes back in it."""
