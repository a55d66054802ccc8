"""What decides a slide's features beside the encoder: its tiles, and what is done to their colours.

As one table it stands in feature files and in the description of a model that learnt from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation.errors import InputError
from models.stain.restaining import StainNormalisation
from models.tiling.settings import TileSettings

__all__ = ["encoding_settings", "tiles_and_stain"]

_STAIN = "stain"


def encoding_settings(tiles: TileSettings, stain: StainNormalisation | None) -> dict[str, Any]:
    """The table; of tiles whose colours stay as they are, it is that of the tiles."""
    settings = tiles.to_dict()
    return settings if stain is None else {**settings, _STAIN: stain.to_dict()}


def tiles_and_stain(
    settings: Mapping[str, Any],
) -> tuple[TileSettings, StainNormalisation | None]:
    """What :func:`encoding_settings` made the table of.

    Raises
    ------
    InputError
        It holds anything else.
    """
    tiles = {name: value for name, value in settings.items() if name != _STAIN}
    stain = settings.get(_STAIN)
    if stain is not None and not isinstance(stain, Mapping):
        raise InputError("stain is no table with a method and a reference")
    return (
        TileSettings.from_dict(tiles),
        None if stain is None else StainNormalisation.from_dict(stain),
    )
