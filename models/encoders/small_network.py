"""The network that is trained on one's own tiles: residual, small, for tiles of any size.

Shapes: B batch, S side of a tile, C channels of a stage.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SmallNetwork"]


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, doi:10.1109/CVPR.2016.90)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallNetwork(nn.Module):
    """Four stages that each halve the resolution, and the mean over all places.

    Parameters
    ----------
    width
        Channels of the first stage; each stage has twice as many as the one before.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        channels = [width * 2**stage for stage in range(4)]
        self.depth = channels[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential(
            *(
                _Block(before, after, 2)
                for before, after in zip([width, *channels[:-1]], channels, strict=True)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of shape (B, C) of tiles of shape (B, 3, S, S)."""
        features: torch.Tensor = self.stages(self.stem(x))  # [B, C, S/32, S/32]
        return features.mean(dim=(2, 3))
