"""Networks of segmentation-models-pytorch, by the names that it gives them (extra ``seg``)."""

from __future__ import annotations

from torch import nn

from annotation.errors import InputError
from models.extras import needs

__all__ = ["smp_network"]


def smp_network(
    classes: int, *, decoder: str = "unet", encoder: str = "resnet18", dropout: float = 0.0
) -> nn.Module:
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
    dropout
        Part of the decoder's channels that are dropped in training, before they become classes.

    Raises
    ------
    InputError
        The package is absent, or knows no such name; or no such part can be dropped.
    """
    smp = needs("segmentation_models_pytorch", "seg")
    try:
        network: nn.Module = smp.create_model(
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
    if not 0 <= dropout < 1:
        raise InputError(f"a dropout of {dropout} can't be; give 0 or more, below 1")
    if dropout > 0:
        network.segmentation_head = nn.Sequential(
            nn.Dropout2d(dropout), network.get_submodule("segmentation_head")
        )
    return network
