"""Benchmarks: baseline and ours in the same run, wall and CPU time, peak memory. Never a test."""
