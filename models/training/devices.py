"""Where to compute."""

from __future__ import annotations

import torch

from annotation.errors import InputError

__all__ = ["device_named"]


def device_named(name: str) -> str:
    """A device of torch that is there; ``auto`` is the GPU where there is one.

    Raises
    ------
    InputError
        It is none, or not here.
    """
    here = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if here else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name!r} is no device; take cpu, cuda or auto", device=name) from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not here):
        raise InputError(f"there is no device {name!r} here; take cpu or auto", device=name)
    return name
