"""Slides in the colours of a reference: what is asked for, and what was found on each slide.

A :class:`StainNormalisation` is a setting: the same for all slides, and whoever reads tiles for a
model does what it says. What it found on one slide is a :class:`Restaining`, which changes the
slide's tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.reader import Reader
from models.stain.macenko import macenko
from models.stain.normalisation import normalise
from models.stain.reinhard import COMMON_COLOURS, Colours, reinhard, repaint
from models.stain.slide_pixels import tissue_pixels
from models.stain.stains import REFERENCE, Stains
from models.stain.vahadane import vahadane
from models.tiling.grid import TileGrid

__all__ = ["Restaining", "StainMethod", "StainNormalisation"]

StainMethod = Literal["macenko", "vahadane", "reinhard"]


@dataclass(frozen=True, eq=False)
class StainNormalisation:
    """What is done to the colours of every slide.

    Attributes
    ----------
    method
        How stains or colours are estimated.
    reference
        What slides shall look like: stains, or for `reinhard` colours.
    """

    method: StainMethod
    reference: Stains | Colours

    def __post_init__(self) -> None:
        if self.method not in get_args(StainMethod):
            raise InputError(
                f"stain method {self.method!r} is unknown; choose from "
                f"{', '.join(get_args(StainMethod))}"
            )
        if isinstance(self.reference, Colours) != (self.method == "reinhard"):
            raise InputError(f"the reference is of another kind than {self.method} takes")

    @classmethod
    def to_common_reference(cls, method: StainMethod) -> StainNormalisation:
        """To a published reference, where a study has no slide that it prefers."""
        return cls(method, COMMON_COLOURS if method == "reinhard" else REFERENCE)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"method": self.method, "reference": self.reference.to_dict()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StainNormalisation:
        """From :meth:`to_dict`.

        Raises
        ------
        InputError
            It holds anything else.
        """
        method, reference = document.get("method"), document.get("reference")
        if set(document) != {"method", "reference"} or not isinstance(reference, Mapping):
            raise InputError("a stain normalisation has a method and a reference, and no more")
        kind = Colours if method == "reinhard" else Stains
        return cls(method, kind.from_dict(reference))  # type: ignore[arg-type]

    def of_slide(
        self, reader: Reader, grid: TileGrid, *, allow_missing: bool = False
    ) -> Restaining:
        """What the slide that a grid lies on needs; estimated anew it is the same.

        Parameters
        ----------
        allow_missing
            Estimate without tiles that can't be read.

        Raises
        ------
        StainError
            Its stains or colours can't be estimated; says why.
        """
        pixels = tissue_pixels(reader, grid, allow_missing=allow_missing)
        return self.of_pixels(pixels, grid.slide)

    def of_pixels(self, pixels: NDArray[np.uint8], slide: str) -> Restaining:
        """What a slide needs, of whose tissue these are pixels (n, 3).

        Raises
        ------
        StainError
            As :meth:`of_slide`.
        """
        return Restaining(self, _estimated(self.method, pixels, slide))

    def with_reference(self, reader: Reader, grid: TileGrid) -> StainNormalisation:
        """The same to the colours of a slide.

        Raises
        ------
        StainError
            They can't be estimated.
        """
        return replace(self, reference=self.of_slide(reader, grid).found)


@dataclass(frozen=True, eq=False)
class Restaining:
    """Brings tiles of one slide to the reference.

    Attributes
    ----------
    found
        The slide's own stains or colours.
    """

    normalisation: StainNormalisation
    found: Stains | Colours

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels (..., 3) of the slide in the reference's colours."""
        reference = self.normalisation.reference
        if isinstance(self.found, Colours) and isinstance(reference, Colours):
            return repaint(pixels, self.found, reference)
        if isinstance(self.found, Stains) and isinstance(reference, Stains):
            return normalise(pixels, self.found, reference)
        raise TypeError("a slide's estimate is of its reference's kind")


def _estimated(method: StainMethod, pixels: NDArray[np.uint8], slide: str) -> Stains | Colours:
    """Stains or colours of a slide's tissue, from pixels (n, 3).

    Raises
    ------
    StainError
        They can't be estimated.
    """
    if method == "reinhard":
        return reinhard(pixels, slide)
    return macenko(pixels, slide) if method == "macenko" else vahadane(pixels, slide)
