"""Networks of segmentation-models-pytorch, by the names that it gives them (extra ``seg``)."""

from __future__ import annotations

import torch

from annotation.errors import InputError
from models.extras import needs

__all__ = ["smp_network"]


def smp_network(
    classes: int, *, decoder: str = "unet", encoder: str = "resnet18"
) -> torch.nn.Module:
    """A decoder on an encoder, with fresh weights.

    Nothing is downloaded: weights come with the model's file. Most of its networks take sides that
    are multiples of 32 px.

    Parameters
    ----------
    classes
        Outputs per pixel.
    decoder, encoder
        Names of segmentation-models-pytorch: ``unet``, ``fpn``, ``deeplabv3plus``, ...;
        ``resnet18``, ``timm-...``.

    Raises
    ------
    InputError
        The package is absent, or knows no such name.
    """
    smp = needs("segmentation_models_pytorch", "seg")
    try:
        network: torch.nn.Module = smp.create_model(
            decoder, encoder_name=encoder, encoder_weights=None, in_channels=3, classes=classes
        )
    except KeyError as error:
        known = ", ".join(sorted(smp.MODEL_ARCHITECTURES_MAPPING))
        raise InputError(
            f"segmentation-models-pytorch has no network {decoder!r} on {encoder!r}; decoders are "
            f"{known}; encoders are listed in its documentation",
            decoder=decoder,
            encoder=encoder,
        ) from error
    return network
