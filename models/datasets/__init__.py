"""Releases as PyTorch datasets: bags, tiles and masks, with patients apart."""
