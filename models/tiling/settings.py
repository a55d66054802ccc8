"""What determines the tiles of a slide; it stands in every file that is made from them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from annotation.errors import InputError
from models.errors import TileError

__all__ = ["EdgePolicy", "TileSettings", "TissueSettings", "check_settings"]

EdgePolicy = Literal["pad", "drop", "shift"]

_SMALLEST_TILE_PX, _LARGEST_TILE_PX = 16, 4096
_TISSUE_BOUNDS = {
    "mpp": (0.25, 64.0),
    "min_share": (0.0, 1.0),
    "smallest_um2": (0.0, 1e12),
    "largest_hole_um2": (0.0, 1e12),
    "min_saturation": (0.0, 1.0),
    "blur_mpp": (0.25, 64.0),
    "min_sharpness": (0.0, 1e6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueSettings:
    """What counts as tissue.

    Attributes
    ----------
    mpp
        Microns per pixel of the picture on which tissue and pen marks are sought.
    min_share
        The part of a tile that must be tissue.
    smallest_um2, largest_hole_um2
        Smaller pieces of tissue are dirt, and smaller holes belong to the tissue around them.
    min_saturation
        Saturation (0 to 1) below which nothing is tissue, wherever Otsu's threshold lies: on
        empty glass it lies in the noise.
    pens
        Whether pen marks are left out.
    blur_mpp, min_sharpness
        Tissue is left out where the variance of the Laplacian of its brightness (0 to 255), taken
        at `blur_mpp` microns per pixel, is below `min_sharpness`; 0 leaves nothing out.
    model
        `module:function` that finds the tissue in Otsu's place: given the picture, uint8 of
        shape (height, width, 3), and its microns per pixel, it returns a mask of the same
        height and width.
    """

    mpp: float = 8.0
    min_share: float = 0.25
    smallest_um2: float = 50_000.0
    largest_hole_um2: float = 20_000.0
    min_saturation: float = 0.05
    pens: bool = True
    blur_mpp: float = 2.0
    min_sharpness: float = 60.0
    model: str | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _TISSUE_BOUNDS.items():
            value = _number(f"tissue.{name}", getattr(self, name), least, most)
            object.__setattr__(self, name, value)
        if not isinstance(self.pens, bool):
            raise InputError(f"tissue.pens {self.pens!r} is neither true nor false; choose one")
        if not isinstance(self.model, str | None):
            raise InputError(
                f"tissue.model {self.model!r} is no function; name it as module:function"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSettings:
    """Which tiles a slide has, and how their pixels are made.

    Attributes
    ----------
    mpp, size_px
        Microns per pixel of the tiles, and their side; never a magnification.
    overlap_px
        What neighbours share.
    edge
        Where the grid doesn't end with the slide: `pad` goes on beyond it, into the background;
        `drop` leaves out what isn't wholly on the slide; `shift` moves the last row and column
        back onto it.
    """

    mpp: float
    size_px: int
    overlap_px: int = 0
    edge: EdgePolicy = "pad"
    tissue: TissueSettings = field(default_factory=TissueSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mpp", _number("mpp", self.mpp, 0.05, 64.0))
        _number("size_px", self.size_px, _SMALLEST_TILE_PX, _LARGEST_TILE_PX)
        _number("overlap_px", self.overlap_px, 0, self.size_px - 1)
        if self.edge not in get_args(EdgePolicy):
            raise InputError(
                f"edge {self.edge!r} is unknown; choose from {', '.join(get_args(EdgePolicy))}"
            )

    @property
    def stride_px(self) -> int:
        """From one tile to the next, in pixels of the tiles."""
        return self.size_px - self.overlap_px

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with the tissue's settings within."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TileSettings:
        """From `to_dict`; an unknown key is an error that names it."""
        _refuse_unknown(values, cls, "")
        tissue = values.get("tissue", {})
        if not isinstance(tissue, Mapping):
            raise InputError("tissue is no table of settings; see `TissueSettings`")
        _refuse_unknown(tissue, TissueSettings, "tissue.")
        try:
            return cls(**{**values, "tissue": TissueSettings(**tissue)})
        except TypeError as error:
            raise InputError(f"tile settings can't be used: {error}") from None

    @property
    def sha256(self) -> str:
        """SHA-256 of the settings, in hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def check_settings(file: object, stored: TileSettings, wanted: TileSettings) -> None:
    """Refuse what was made under other settings.

    Raises
    ------
    TileError
        Names the first setting that differs, with both values, and the file.
    """
    for name, have, want in _differences(stored.to_dict(), wanted.to_dict(), ""):
        raise TileError(
            f"{str(file)!r} was made with {name} {have!r}, not {want!r}; remove it, or ask for "
            "the settings it was made with",
            path=file,
            setting=name,
        )


def _differences(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str
) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name, want in wanted.items():
        have = stored[name]
        if isinstance(want, Mapping):
            found += _differences(have, want, f"{prefix}{name}.")
        elif have != want:
            found.append((prefix + name, have, want))
    return found


def _number(name: str, value: float, least: float, most: float) -> float:
    """Return a setting as a number of its bounds' kind, so that 1 and 1.0 are one setting."""
    kinds = int if isinstance(least, int) else int | float
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise InputError(f"{name} {value!r} can't be used; choose {least:g} to {most:g}")
    return type(least)(value)


def _refuse_unknown(values: Mapping[str, Any], settings: type, prefix: str) -> None:
    known = [each.name for each in fields(settings)]
    for name in values:
        if name not in known:
            raise InputError(
                f"unknown tile setting {prefix + str(name)!r}; there are {', '.join(known)}"
            )
