"""Segmentation: a class for every pixel, learnt from masks that say how sure they are."""
