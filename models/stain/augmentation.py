"""A tile as another laboratory might have stained it: concentrations are scaled and shifted.

References
----------
Tellez et al. (2018), doi:10.1109/TMI.2018.2820199.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.stain.density import intensities, optical_density
from models.stain.stains import Stains

__all__ = ["StainAugmentation"]


@dataclass(frozen=True)
class StainAugmentation:
    """Draws other stainings of tiles.

    Attributes
    ----------
    scale
        Each concentration is multiplied by a number from ``1 - scale`` to ``1 + scale``.
    shift
        And moved by one from ``-shift`` to ``shift``, in units of its 99th percentile.
    """

    scale: float = 0.2
    shift: float = 0.05

    def __post_init__(self) -> None:
        if not (0 <= self.scale < 1 and 0 <= self.shift < 1):
            raise InputError(
                f"scale {self.scale:g} and shift {self.shift:g} of a stain augmentation must be 0 or "
                "more and below 1"
            )

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, as in a file of settings."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> StainAugmentation:
        """From :meth:`to_dict`, or a part of it.

        Raises
        ------
        InputError
            An unknown key, named, or a value that can't be used.
        """
        known = [each.name for each in fields(cls)]
        for name, value in given.items():
            if name not in known:
                raise InputError(
                    f"there is no setting {name!r} of a stain augmentation; take one of "
                    f"{', '.join(known)}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name} {value!r} of a stain augmentation is no number")
        return cls(**given)

    def __call__(
        self, pixels: NDArray[np.uint8], stains: Stains, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Pixels (..., 3) restained; what the stains don't explain stays as it is.

        The same generator state gives the same draw, whatever the pixels.

        Parameters
        ----------
        stains
            Of the slide that the pixels are from.
        """
        factor = rng.uniform(-self.scale, self.scale, 2)
        moved = rng.uniform(-self.shift, self.shift, 2) * stains.strongest
        change = np.eye(3) + stains.vectors @ np.diag(factor) @ stains.unmixing
        densities = optical_density(pixels) @ np.float32(change.T)
        return intensities(densities + np.float32(stains.vectors @ moved))
