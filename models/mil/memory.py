"""How much memory a bag takes, told before training begins.

Shapes: N tiles, F features, H hidden features, A attention features.
"""

from __future__ import annotations

from models.mil.networks import PoolingNetwork

__all__ = ["memory_estimate"]

_FLOAT = 4

_HELD_BACK = 128 * 1024**2
"""What the allocator keeps for itself between the passes of training, as measured on Linux."""


def memory_estimate(
    network: PoolingNetwork,
    *,
    tiles: int,
    bags: int = 1,
    feature_bytes: int = _FLOAT,
    training: bool = True,
    ahead: int = 0,
) -> int:
    """Bytes that one step needs beyond the interpreter and torch themselves.

    Parameters
    ----------
    tiles, bags
        Of the largest bag, and bags a batch: they are padded to the largest.
    feature_bytes
        Of one stored feature: 4 for float32, 2 for float16.
    training
        With gradients and the two moments of Adam; else for prediction.
    ahead
        Batches that are loaded in advance.
    """
    features = network.embed.linear.in_features
    hidden = network.embed.linear.out_features
    weights = sum(parameter.numel() for parameter in network.parameters()) * _FLOAT
    stored = (1 + ahead) * bags * tiles * features * feature_bytes
    at_once = bags * min(tiles, network.chunk_tiles)
    copied = features if feature_bytes != _FLOAT else 0
    dropped = 1.25 * hidden if network.embed.dropout.p else 0.0  # what is left, and its mask
    kept = hidden + dropped + network.pooling.floats_per_tile
    passing = 3 * hidden if training else hidden  # gradients of the embedding; its linear part
    activations = int(at_once * (copied + kept + passing) * _FLOAT)
    if training:
        return stored + activations + 4 * weights + _HELD_BACK
    return stored + activations + weights
