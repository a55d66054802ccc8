"""Which encoder is meant: a name, a TOML file, or a folder that holds both spec and weights."""

from __future__ import annotations

from pathlib import Path

from annotation.errors import InputError
from models.encoders.built_in import BUILT_IN, SELF_SUPERVISED
from models.encoders.encoder import Encoder, load_encoder, spec_beside, with_random_weights
from models.encoders.spec import SPEC_FILE, EncoderSpec, Precision, read_spec
from models.errors import ModelFileError

__all__ = ["chosen_spec", "ready_encoder"]


def chosen_spec(name: str | None, weights: Path | None) -> EncoderSpec:
    """The spec that a name or a folder of weights stands for.

    Parameters
    ----------
    name
        Of a built-in encoder, a TOML file, or a folder with `encoder.toml`; None where `weights`
        is such a folder.

    Raises
    ------
    ModelFileError
        No such encoder, or the weights are beside the spec of another one.
    """
    beside = None if weights is None else spec_beside(weights)
    if name is None:
        if beside is None:
            raise InputError(
                f"which encoder is it? pass --encoder (one of {_known()}, or a TOML file), or with "
                f"--weights a folder that holds {SPEC_FILE}"
            )
        return beside
    spec = _named(name)
    if beside is not None and beside.decides_features() != spec.decides_features():
        raise ModelFileError(
            f"the weights in {str(weights)!r} are beside the spec of encoder {beside.name!r}, which "
            f"is not that of {name!r}; leave out --encoder, or name the right folder",
            encoder=name,
        )
    return spec


def ready_encoder(
    name: str | None,
    *,
    weights: Path | None,
    random_weights: bool,
    seed: int,
    device: str,
    precision: Precision | None,
) -> Encoder:
    """Make the encoder ready that a command's options stand for.

    Raises
    ------
    MissingWeightsError
        No weights, and random ones aren't asked for.
    ModelFileError
        No such encoder, or weights that aren't its own.
    """
    if weights is None and name is not None and Path(name).is_dir():
        weights = Path(name)
    spec = chosen_spec(name, weights)
    if random_weights:
        if weights is not None:
            raise InputError("--random-weights needs no --weights; leave one out")
        return with_random_weights(spec, seed=seed, device=device, precision=precision)
    return load_encoder(spec, weights=weights, device=device, precision=precision)


def _named(name: str) -> EncoderSpec:
    if name == SELF_SUPERVISED.name:
        return SELF_SUPERVISED
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if path.is_dir():
        return read_spec(path / SPEC_FILE)
    if path.suffix == ".toml":
        return read_spec(path)
    raise ModelFileError(
        f"there is no encoder {name!r}; take one of {_known()}, or describe yours in a TOML file",
        encoder=name,
    )


def _known() -> str:
    return ", ".join((*BUILT_IN, SELF_SUPERVISED.name))
