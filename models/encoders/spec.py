"""What an encoder is, before its weights: a network and what it does to a tile.

A user's own encoder is a short TOML file::

    name = "uni2-h"
    architecture = "vit_giant_patch14_224"    # of timm
    input_px = 224
    mpp = 0.5                                 # microns per pixel it is meant for
    feature = "class"                         # class | class+mean | mean | pooled
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
    interpolation = "bilinear"                # where tiles are of another size
    precision = "float16"                     # on a GPU: float32 | float16 | bfloat16
    hub = "MahmoodLab/UNI2-h"                 # absent: weights from a folder only
    licence = "CC-BY-NC-ND 4.0"
    [arguments]                               # of the architecture
    embed_dim = 1536
    mlp_layer = "SwiGLUPacked"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, get_args

from annotation.errors import ProtocolError
from annotation.slides import LARGEST_MPP, SMALLEST_MPP
from annotation.toml_table import TomlTable
from models.errors import ModelFileError

__all__ = [
    "SELF_SUPERVISED_NAME",
    "SPEC_FILE",
    "EncoderSpec",
    "Feature",
    "Interpolation",
    "Precision",
    "read_spec",
]

Feature = Literal["class", "class+mean", "mean", "pooled"]
Interpolation = Literal["bilinear", "bicubic"]
Precision = Literal["float32", "float16", "bfloat16"]
Argument = str | int | float | bool

SPEC_FILE = "encoder.toml"
SELF_SUPERVISED_NAME = "self-supervised"

_LARGEST_INPUT_PX = 2048
_LARGEST_FILE_BYTES = 1 << 16
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# They would fetch weights, unpickle a file, or undo what the spec says.
_FORBIDDEN = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "features_only",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_custom_load",
        "pretrained_strict",
        "scriptable",
    }
)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """A network and what it does to a tile.

    Attributes
    ----------
    name
        What files and messages call it.
    architecture, arguments
        A name of timm's, or `small` for the network that is trained on one's own tiles; and what it
        takes.
    input_px
        Side of the square that goes into the network; tiles of another size are resampled.
    mpp
        Microns per pixel of the tiles, unless the user says otherwise.
    feature
        `class`: the class token; `mean`: the mean of the patch tokens, without registers;
        `class+mean`: both, one behind the other; `pooled`: what the network itself pools.
    mean, std
        Of each channel, from 0 to 1; subtracted from and divided into what goes in.
    interpolation
        By which tiles are resampled.
    precision
        Of the arithmetic on a GPU.
    hub
        The page with its weights; None where there is none.
    licence
        Under which its weights are.
    """

    name: str
    architecture: str
    input_px: int
    mpp: float
    feature: Feature
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    interpolation: Interpolation = "bicubic"
    precision: Precision = "float32"
    hub: str | None = None
    licence: str | None = None
    arguments: Mapping[str, Argument] = field(default_factory=lambda: MappingProxyType({}))

    def decides_features(self) -> dict[str, Any]:
        """All that changes features, besides weights, tiles and the precision of arithmetic."""
        return {
            "architecture": self.architecture,
            "arguments": dict(self.arguments),
            "input_px": self.input_px,
            "feature": self.feature,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }

    def to_toml(self) -> str:
        """The spec as a file that `read_spec` reads."""
        lines = [
            f"{each.name} = {_as_toml(getattr(self, each.name))}"
            for each in fields(self)
            if each.name != "arguments" and getattr(self, each.name) is not None
        ]
        if self.arguments:
            lines += ["[arguments]"]
            lines += [f"{name} = {_as_toml(value)}" for name, value in self.arguments.items()]
        return "\n".join(lines) + "\n"


def read_spec(path: Path) -> EncoderSpec:
    """Read a spec from a TOML file.

    Raises
    ------
    ModelFileError
        The file is absent, no TOML, or has a key that is unknown, missing or of a wrong value.
    """
    origin = f"encoder file {str(path)!r}"
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(
            f"{origin} can't be read: {error.strerror}; check the path", path=path
        ) from None
    if len(content) > _LARGEST_FILE_BYTES:
        raise ModelFileError(
            f"{origin} is longer than {_LARGEST_FILE_BYTES:,} bytes; write a short one", path=path
        )
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{origin} is no TOML: {error}", path=path) from None
    try:
        return _spec_of(
            TomlTable(origin, "", document, [each.name for each in fields(EncoderSpec)])
        )
    except ProtocolError as error:
        raise ModelFileError(str(error), path=path) from None


def _spec_of(table: TomlTable) -> EncoderSpec:
    for key in ("input_px", "mpp"):
        if key not in table.content:
            table.refuse(f"{key} is missing; add {key} = ...", key)
    size = f"a whole number from 1 to {_LARGEST_INPUT_PX}"
    input_px = table.whole("input_px", at_least=1, default=0)
    if input_px > _LARGEST_INPUT_PX:
        table.refuse(f"input_px is {input_px}; write {size}", "input_px")
    feature: Any = table.choice("feature", get_args(Feature))
    interpolation: Any = table.choice("interpolation", get_args(Interpolation), "bicubic")
    precision: Any = table.choice("precision", get_args(Precision), "float32")
    return EncoderSpec(
        name=table.text("name"),
        architecture=table.text("architecture"),
        input_px=input_px,
        mpp=table.number(
            "mpp",
            f"microns per pixel from {SMALLEST_MPP:g} to {LARGEST_MPP:g}",
            low=SMALLEST_MPP,
            high=LARGEST_MPP,
            default=0.0,
        ),
        feature=feature,
        mean=_channels(table, "mean", _IMAGENET_MEAN, low=0.0),
        std=_channels(table, "std", _IMAGENET_STD, low=1e-3),
        interpolation=interpolation,
        precision=precision,
        hub=_optional(table, "hub"),
        licence=_optional(table, "licence"),
        arguments=_arguments(table),
    )


def _optional(table: TomlTable, key: str) -> str | None:
    return table.text(key) if key in table.content else None


def _channels(
    table: TomlTable, key: str, default: tuple[float, float, float], *, low: float
) -> tuple[float, float, float]:
    value = table.content.get(key, list(default))

    def wrong() -> NoReturn:
        table.refuse(f"{key} is {value!r}"[:200] + f"; write three numbers from {low:g} to 1", key)

    if not isinstance(value, list) or len(value) != 3:
        wrong()
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float):
            wrong()
        if not low <= number <= 1:
            wrong()
    red, green, blue = map(float, value)
    return red, green, blue


def _arguments(table: TomlTable) -> Mapping[str, Argument]:
    given = table.content.get("arguments", {})
    if not isinstance(given, dict):
        table.refuse("arguments is no table; write [arguments]", "arguments")
    for name, value in given.items():
        if name in _FORBIDDEN:
            table.refuse(f"[arguments] {name} can't be set here; leave it out", name)
        if not isinstance(value, str | int | float):
            table.refuse(f"[arguments] {name} is {value!r}"[:200] + "; write one value", name)
    return MappingProxyType(dict(given))


def _as_toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_as_toml(each) for each in value)}]"
    # JSON writes booleans, numbers and text as TOML does; of text only DEL needs an escape more.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
