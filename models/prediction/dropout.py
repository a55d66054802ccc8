"""Passes with dropout: each is one thinned network, the same for all of a slide.

What a pass drops is drawn once from its seed, and not anew for each tile or window. Tiles are then
judged by one network, as the approximation has it: were each tile to meet a network of its own,
the differences would cancel out in a slide's score, and a slide of many tiles would always look
certain. It also makes a pass the same however its tiles are grouped.

References
----------
Gal & Ghahramani (2016), arXiv:1506.02142 and arXiv:1512.05287, on a mask for the whole of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

__all__ = ["Shared", "dropout_layers", "thinned"]

Shared = Literal["tiles", "batch"]
"""Over what a mask is shared: all axes but the last, or the first axis alone."""

_ELEMENTWISE = nn.Dropout
_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

Mask = Callable[[nn.Module, Any, torch.Tensor], torch.Tensor]


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """The layers of a network that drop anything in training."""
    kinds = (_ELEMENTWISE, *_CHANNELWISE)
    return [layer for layer in network.modules() if isinstance(layer, kinds) and float(layer.p) > 0]


@contextmanager
def thinned(network: nn.Module, seed: int, *, shared: Shared) -> Iterator[None]:
    """Within the block a network, which stays in evaluation mode, is one of its thinned ones.

    Parameters
    ----------
    seed
        The same seed drops the same, on any device.
    shared
        `tiles`: features (..., F) lose the same ones of F everywhere. `batch`: images or tokens lose
        the same at the same place. Layers that drop whole channels lose them everywhere.
    """
    hooks = [
        layer.register_forward_hook(_masking(seed, number, shared))
        for number, layer in enumerate(dropout_layers(network))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _masking(seed: int, number: int, shared: Shared) -> Mask:
    masks: dict[tuple[int, ...], torch.Tensor] = {}

    def mask(layer: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        shape = _mask_shape(layer, output, shared)
        if shape not in masks:
            masks[shape] = _drawn(seed, number, shape, float(layer.p)).to(output)  # type: ignore[arg-type]
        return output * masks[shape]

    return mask


def _mask_shape(layer: nn.Module, output: torch.Tensor, shared: Shared) -> tuple[int, ...]:
    if isinstance(layer, _CHANNELWISE):
        return (1, output.shape[1], *(1 for _ in output.shape[2:]))
    if shared == "tiles":
        return (*(1 for _ in output.shape[:-1]), output.shape[-1])
    return (1, *output.shape[1:])


def _drawn(seed: int, number: int, shape: tuple[int, ...], p: float) -> torch.Tensor:
    """What is kept, by the inverse of how often it is."""
    state = np.random.SeedSequence([seed, number, *shape]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
    kept = torch.rand(shape, generator=generator) >= p
    return kept.float() / max(1.0 - p, torch.finfo(torch.float32).tiny)
