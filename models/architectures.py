"""Networks by the name that a model's file gives them; each module is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch

from models.errors import ModelFileError

__all__ = ["ARCHITECTURES", "build"]

# name: module:callable, which takes the arguments by name and returns a torch.nn.Module
ARCHITECTURES: dict[str, str] = {
    "abmil": "models.mil.networks:GatedAttentionNetwork",
    "clam-sb": "models.mil.clam:ClamNetwork",
    "max": "models.mil.networks:MaxNetwork",
    "mean": "models.mil.networks:MeanNetwork",
    "tile-mlp": "models.mil.networks:TileNetwork",
    "smp": "models.segmentation.smp_networks:smp_network",
    "torchmil": "models.mil.torchmil_models:TorchmilNetwork",
    "unet": "models.segmentation.unet:UNet",
}


def build(name: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """Make a network with fresh weights.

    Raises
    ------
    ModelFileError
        No architecture of this name, or arguments that it doesn't take or can't be built with.
    """
    if name not in ARCHITECTURES:
        raise ModelFileError(
            f"there is no architecture {name!r}; take one of {', '.join(sorted(ARCHITECTURES))}",
            architecture=name,
        )
    module, _, attribute = ARCHITECTURES[name].partition(":")
    make = getattr(import_module(module), attribute)
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise ModelFileError(
            f"architecture {name!r}: {error}; its arguments are "
            f"{', '.join(inspect.signature(make).parameters)}",
            architecture=name,
        ) from error
    try:
        made: torch.nn.Module = make(**arguments)
    except (TypeError, RuntimeError, OverflowError) as error:  # what torch says of absurd sizes
        raise ModelFileError(
            f"architecture {name!r} can't be built with {dict(arguments)}: "
            f"{str(error).splitlines()[0]}",
            architecture=name,
        ) from error
    return made
