"""A U-Net, from scratch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from annotation.errors import InputError

__all__ = ["UNet"]

_GROUPS = 8


class UNet(nn.Module):
    """Encoder and decoder with connections at each resolution.

    Group normalisation instead of the batch's: a mask must not depend on what else is in the batch,
    and batches are small.

    Parameters
    ----------
    classes
        Outputs per pixel.
    width
        Channels at full resolution, a multiple of 8; each level down has twice as many.
    depth
        Levels below full resolution.
    channels
        Of the image.
    dropout
        Part of the channels that are dropped in training, at each level on the way up.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), arXiv:1505.04597; Wu & He (2018), arXiv:1803.08494; on
    dropout Kendall, Badrinarayanan & Cipolla (2017), doi:10.5244/C.31.57.
    """

    def __init__(
        self,
        classes: int,
        *,
        width: int = 32,
        depth: int = 4,
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise InputError(f"a U-Net of {classes} classes tells nothing apart; give 2 or more")
        if width < _GROUPS or width % _GROUPS:
            raise InputError(f"a U-Net's width is {width}; give a multiple of {_GROUPS}")
        if not 1 <= depth <= 7:
            raise InputError(f"a U-Net's depth is {depth}; give 1 to 7")
        if not 0 <= dropout < 1:
            raise InputError(f"a U-Net's dropout is {dropout}; give 0 or more, below 1")
        self.multiple_px = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.inward = _block(channels, width)
        self.down = nn.ModuleList(_block(above, below) for above, below in pairwise(widths))
        upward = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, above, kernel_size=2, stride=2) for below, above in upward
        )
        self.joined = nn.ModuleList(_block(2 * above, above) for _, above in upward)
        self.dropout = nn.Dropout2d(dropout)
        self.outward = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (b, classes, h, w) of images (b, channels, h, w) of any size."""
        height, width = images.shape[-2:]
        # Copies of the border fill up to whole pixels of the coarsest level, and are cut off again.
        padding = (0, -width % self.multiple_px, 0, -height % self.multiple_px)
        found = self.inward(functional.pad(images, padding, mode="replicate"))
        passed = []
        for block in self.down:
            passed.append(found)
            found = block(functional.max_pool2d(found, 2))
        for up, block in zip(self.up, self.joined, strict=True):
            found = block(torch.cat([passed.pop(), up(self.dropout(found))], dim=1))
        logits: torch.Tensor = self.outward(found)
        return logits[..., :height, :width]


def _block(inward: int, outward: int) -> nn.Sequential:
    """Two convolutions, each normalised."""
    layers: list[nn.Module] = []
    for channels in (inward, outward):
        layers += [
            nn.Conv2d(channels, outward, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, outward),
            nn.SiLU(inplace=True),
        ]
    return nn.Sequential(*layers)
