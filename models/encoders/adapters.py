"""Which of a network's weights are fine-tuned: its last blocks, or low-rank adapters.

An adapter is a parametrisation of PyTorch's own (``torch.nn.utils.parametrize``): the layer goes on
to be what it was, for whoever calls it, and merging is taking the parametrisation away.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from models.errors import TrainingError

__all__ = ["LowRank", "add_adapters", "blocks_of", "merge_adapters", "unfreeze_last"]

_ADAPTED = ("qkv", "proj")
# Where networks of timm, and the small one, keep what follows one another.
_PLACES = ("blocks", "stages", "layer1 layer2 layer3 layer4")
# What stands behind the last block and belongs to it.
_BEHIND = ("norm", "fc_norm")


class LowRank(nn.Module):
    """Adds a matrix of low rank to a frozen weight (LoRA: Hu et al. 2022, arXiv:2106.09685).

    Shapes: O rows of the weight, I columns, R the rank. The addition is 0 at first.
    """

    def __init__(self, rows: int, columns: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, columns))  # [R, I]
        self.up = nn.Parameter(torch.zeros(rows, rank))  # [O, R]
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight of shape (O, I) with its addition."""
        return weight + self.scale * (self.up @ self.down)


def add_adapters(network: nn.Module, *, rank: int = 8, alpha: float = 16.0) -> int:
    """Freeze a network and put adapters on its attention's linear layers; returns how many.

    Raises
    ------
    TrainingError
        It has no attention.
    """
    network.requires_grad_(False)
    found = [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and ".attn." in f".{name}" and name.endswith(_ADAPTED)
    ]
    if not found:
        raise TrainingError(
            "the encoder has no attention to adapt by LoRA; fine-tune its last blocks instead"
        )
    for layer in found:
        adapter = LowRank(layer.out_features, layer.in_features, rank, alpha)
        parametrize.register_parametrization(layer, "weight", adapter.to(layer.weight.device))
    return len(found)


def merge_adapters(network: nn.Module) -> None:
    """Put what adapters add into the weights; the network's output stays what it was."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The network's blocks, the first first.

    Raises
    ------
    TrainingError
        It has none that are known.
    """
    for place in _PLACES:
        found = [getattr(network, name, None) for name in place.split()]
        if all(isinstance(each, nn.Module) for each in found):
            stages = cast("list[nn.Module]", found)
            return stages if len(stages) > 1 else list(stages[0].children())
    raise TrainingError("the encoder has no blocks that are known; fine-tune it by LoRA")


def unfreeze_last(network: nn.Module, blocks: int) -> None:
    """Freeze a network but for its last blocks and the normalisation behind them.

    Raises
    ------
    TrainingError
        It has fewer blocks.
    """
    found = blocks_of(network)
    if not 1 <= blocks <= len(found):
        raise TrainingError(
            f"{blocks} blocks can't be fine-tuned; the encoder has {len(found)}, take 1 to "
            f"{len(found)}"
        )
    network.requires_grad_(False)
    behind = [getattr(network, name, None) for name in _BEHIND]
    for module in (*found[-blocks:], *behind):
        if isinstance(module, nn.Module):
            module.requires_grad_(True)
