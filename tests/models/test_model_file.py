"""A model's folder comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from models.architectures import ARCHITECTURES, build
from models.errors import ModelFileError
from models.model_file import (
    ModelDescription,
    describe,
    load_model,
    read_description,
    save_model,
)

DESCRIPTION = ModelDescription(
    architecture="abmil",
    arguments={"features": 6, "classes": 3, "hidden": 8, "attention": 4, "head": "ordinal"},
    classes=["=A", "B\n", "ü"],
    ordered=True,
    input={"kind": "features", "encoder": "e", "encoder_sha256": "a" * 64},
    release="v1",
    manifest_sha256="b" * 64,
    split={"train": ["S1"], "test": ["S/2"]},
    method="soft",
    training={"epochs": 3},
    metrics={"nll": 0.5},
    notes=["a note"],
)


def network(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(DESCRIPTION.architecture, DESCRIPTION.arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "m", network(), DESCRIPTION)
    return tmp_path / "m"


def test_it_comes_back_as_it_was(folder: Path) -> None:
    made, loaded = network(), load_model(folder)
    assert not loaded.network.training
    for name, weights in made.state_dict().items():
        assert torch.equal(weights, loaded.network.state_dict()[name])
    assert load_file(folder / "model.safetensors").keys() == made.state_dict().keys()
    described = msgspec.structs.replace(
        DESCRIPTION, weights_sha256=loaded.description.weights_sha256
    )
    assert loaded.description == described
    bags = torch.randn(2, 5, 6)
    assert torch.equal(made.eval()(bags), loaded.network(bags))


def test_the_same_model_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", network(), DESCRIPTION)
    for name in ("model.safetensors", "model.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_description_can_be_written_anew_beside_the_same_weights(folder: Path) -> None:
    described = msgspec.structs.replace(read_description(folder), temperature=1.7)
    describe(folder, described)
    assert load_model(folder).description == described


def change(**members: Any) -> Callable[[Path], None]:
    """Changes members of the description."""

    def apply(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **members}))

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def of_another_model(folder: Path) -> None:
    """Weights and description each whole, and not of one another."""
    kept = (folder / "model.json").read_bytes()
    save_model(folder, network(1), DESCRIPTION)
    (folder / "model.json").write_bytes(kept)


def of_another_shape(folder: Path) -> None:
    wider = {**DESCRIPTION.arguments, "hidden": 9}
    saved = save_model(folder, build("abmil", wider), DESCRIPTION)
    describe(folder, saved)


def no_safetensors(folder: Path) -> None:
    """Bytes that the description vouches for, and that are no safetensors."""

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("/tmp/unpickled-by-a-model",)

    import hashlib

    content = pickle.dumps(Runs())
    (folder / "model.safetensors").write_bytes(content)
    change(weights_sha256=hashlib.sha256(content).hexdigest())(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no model: model.json can't be"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights .* can't be read"),
        (write("model.json", b"not JSON"), "does not describe a model of this version"),
        (write("model.json", b"[" * 100_000), "does not describe a model of this version"),
        (write("model.json", b" " * (16 * 1024**2 + 1)), "is longer than 16 MiB"),
        (change(format="pathquorum-model/2"), "does not describe a model of this version"),
        (change(format="other"), "does not describe a model of this version"),
        (change(added=1), "unknown field `added`"),
        (change(classes="A"), r"Expected `array`, got `str` - at `\$.classes`"),
        (change(architecture="resnet"), "there is no architecture 'resnet'; take one of abmil"),
        (change(arguments={"features": 6}), "missing a required .*: 'classes'"),
        (
            change(arguments={"features": 6, "classes": 3, "x": 1}),
            "unexpected keyword argument 'x'",
        ),
        (
            change(arguments={"features": 6, "classes": 3, "hidden": 2**60}),
            "architecture 'abmil' can't be built with",
        ),
        (
            change(arguments={"features": "6", "classes": 3}),
            "architecture 'abmil' can't be built with",
        ),
        (cut, "is not the file that model.json beside it describes"),
        (of_another_model, "is not the file that model.json beside it describes"),
        (of_another_shape, "does not fit the architecture 'abmil'"),
        (no_safetensors, "does not fit the architecture 'abmil'"),
    ],
)
def test_what_is_no_model_of_ours_is_refused_by_name(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelFileError, match=message) as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)
    assert not Path("/tmp/unpickled-by-a-model").exists()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_is_where_the_table_says(name: str) -> None:
    """Asked for what it can't take, it says what it takes."""
    with pytest.raises(ModelFileError, match=f"architecture '{name}': .*; its arguments are "):
        build(name, {"no_such_argument": 1})
