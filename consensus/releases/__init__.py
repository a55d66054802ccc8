"""Splits, manifests and exports of frozen training sets."""
