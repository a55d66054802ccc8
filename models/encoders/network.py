"""Networks from specs, with fresh weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.encoders.small_network import SmallNetwork
from models.encoders.spec import EncoderSpec
from models.errors import ModelFileError
from models.extras import needs

__all__ = ["build_network", "classifier_of", "features_of"]

_SMALL = "small"
# Layers that an argument may name, where timm takes a class.
_LAYERS = {
    "mlp_layer": ("timm.layers", ("Mlp", "GluMlp", "SwiGLU", "SwiGLUPacked")),
    "act_layer": ("torch.nn", ("GELU", "ReLU", "SiLU")),
}


def build_network(spec: EncoderSpec) -> nn.Module:
    """Make a spec's network, without a classifier.

    Raises
    ------
    ModelFileError
        timm doesn't know the architecture, or it doesn't take the arguments.
    """
    arguments: dict[str, Any] = {**spec.arguments}
    if spec.architecture == _SMALL:
        make: Any = SmallNetwork
    else:
        timm = needs("timm", "encoders")
        if spec.architecture not in timm.list_models():
            raise ModelFileError(
                f"encoder {spec.name!r}: timm has no architecture {spec.architecture!r}; see "
                "`python -c 'import timm; print(timm.list_models())'`",
                encoder=spec.name,
            )
        arguments = {
            "pretrained": False,
            "num_classes": 0,
            **{name: _layer(spec, name, value) for name, value in arguments.items()},
        }

        def make(**given: Any) -> nn.Module:
            network: nn.Module = timm.create_model(spec.architecture, **given)
            return network

    try:
        network: nn.Module = make(**arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        raise ModelFileError(
            f"encoder {spec.name!r}: {spec.architecture} doesn't take its arguments "
            f"({' '.join(str(error).split())[:200]}); correct [arguments]",
            encoder=spec.name,
        ) from None
    return network


def classifier_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the classifiers that published weights have and this network has not."""
    known = getattr(network, "pretrained_cfg", None) or {}
    named = known.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def features_of(network: nn.Module, spec: EncoderSpec, x: torch.Tensor) -> torch.Tensor:
    """Return features of shape (B, D) of normalised tiles of shape (B, 3, S, S).

    Raises
    ------
    ModelFileError
        The network has no such tokens, or pools to no vector.
    """
    if spec.feature == "pooled":
        features: torch.Tensor = network(x)
        if features.ndim != 2:
            raise ModelFileError(
                f"encoder {spec.name!r} pools to the shape {tuple(features.shape)}, no vector a "
                "tile; set another feature or global_pool",
                encoder=spec.name,
            )
        return features
    forward: Any = getattr(network, "forward_features", None)
    tokens: torch.Tensor | None = None if forward is None else forward(x)
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    if tokens is None or tokens.ndim != 3 or (prefix < 1 and spec.feature != "mean"):
        raise ModelFileError(
            f"encoder {spec.name!r}: {spec.architecture} has no tokens for the feature "
            f'{spec.feature!r}; set feature = "pooled"',
            encoder=spec.name,
        )
    token, mean = tokens[:, 0], tokens[:, prefix:].mean(dim=1)  # [B, T, D] -> [B, D]
    if spec.feature == "class":
        return token
    return mean if spec.feature == "mean" else torch.cat([token, mean], dim=1)


def _layer(spec: EncoderSpec, name: str, value: object) -> object:
    if name not in _LAYERS:
        return value
    module, known = _LAYERS[name]
    if value not in known:
        raise ModelFileError(
            f"encoder {spec.name!r}: {name} is {value!r}; take one of {', '.join(known)}",
            encoder=spec.name,
        )
    return getattr(needs(module, "encoders"), str(value))
