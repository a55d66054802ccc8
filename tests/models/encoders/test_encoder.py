"""Encoders with their weights: what goes in, whose hash they bear, and which files are refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from models.encoders import encoder as module
from models.encoders.built_in import BUILT_IN, SELF_SUPERVISED
from models.encoders.encoder import (
    FINE_TUNED,
    load_encoder,
    normalised,
    resized,
    save_encoder,
    spec_beside,
    with_random_weights,
)
from models.encoders.network import build_network
from models.encoders.spec import EncoderSpec, Interpolation
from models.encoders.weights import digest_of
from models.errors import MissingWeightsError, ModelFileError, TrainingError

SMALL = replace(SELF_SUPERVISED, arguments={"width": 4})
TILES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def tensors(spec: EncoderSpec = SMALL, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(build_network(spec).state_dict())


def refused(weights: Path, spec: EncoderSpec = SMALL) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_encoder(spec, weights=weights, device="cpu")
    message = str(caught.value)
    assert weights.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("size_px", [224, 256, 300])
def test_what_goes_in_equals_the_transform_of_timm(name: str, size_px: int) -> None:
    data = pytest.importorskip("timm.data", reason="needs timm, of the extra encoders")
    spec = BUILT_IN[name]
    transform = data.create_transform(
        (3, spec.input_px, spec.input_px),
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
        crop_pct=1.0,
    )
    tile = np.random.default_rng(size_px).integers(0, 256, (size_px, size_px, 3), np.uint8)
    expected = transform(Image.fromarray(tile))
    prepared = resized(tile, spec.input_px, spec.interpolation)
    ours = normalised(torch.from_numpy(prepared[None].copy()), spec)
    assert torch.equal(ours[0], expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_tile_of_the_right_size_is_left_as_it_is(interpolation: Interpolation) -> None:
    tile = TILES[0]
    assert resized(tile, 64, interpolation) is tile


def test_features_do_not_depend_on_the_tiles_beside_them() -> None:
    encoder = with_random_weights(SMALL, device="cpu")
    together = encoder.features(TILES)
    assert together.shape == (5, 32)
    assert together.dtype == np.float32
    for tile, expected in zip(TILES, together, strict=True):
        assert encoder.features(tile[None])[0] == pytest.approx(expected, abs=1e-6)


def test_weights_come_from_safetensors_and_pickles_with_the_same_hash(tmp_path: Path) -> None:
    given = tensors()
    save_file(given, tmp_path / "model.safetensors")
    kinds = {"pytorch_model.bin": given, "a.pth": {"state_dict": given}, "b.pt": {"model": given}}
    loaded = [load_encoder(SMALL, weights=tmp_path, device="cpu")]
    for name, content in kinds.items():
        (tmp_path / name.split(".")[0]).mkdir()
        path = tmp_path / name.split(".")[0] / name
        torch.save(content, path)
        loaded.append(load_encoder(SMALL, weights=path.parent, device="cpu"))
    assert {encoder.sha256 for encoder in loaded} == {loaded[0].sha256}
    assert {encoder.weights for encoder in loaded} == {"folder"}
    for encoder in loaded:
        assert np.array_equal(encoder.features(TILES), loaded[0].features(TILES))


def test_the_hash_changes_with_any_weight_and_any_fact_that_changes_features(
    tmp_path: Path,
) -> None:
    given = tensors()

    def sha256(spec: EncoderSpec = SMALL, **changed: torch.Tensor) -> str:
        save_file({**given, **changed}, tmp_path / "model.safetensors")
        return load_encoder(spec, weights=tmp_path, device="cpu").sha256

    first = sha256()
    weight = given["stem.0.weight"].clone()
    weight[0, 0, 0, 0] += 1e-6
    changed = [
        sha256(**{"stem.0.weight": weight}),
        sha256(**{"stem.1.num_batches_tracked": torch.tensor(3)}),
        sha256(replace(SMALL, mean=(0.5, 0.5, 0.5))),
        sha256(replace(SMALL, input_px=96)),
        sha256(replace(SMALL, interpolation="bicubic")),
    ]
    assert len({first, *changed}) == 1 + len(changed)
    same = [sha256(replace(SMALL, name="other", licence="MIT", mpp=0.5, precision="bfloat16"))]
    assert same == [first]


def test_a_digest_tells_types_and_shapes_apart_and_not_the_order() -> None:
    a, b = torch.zeros(4), torch.ones(2, 2)
    digests = [
        digest_of({"a": a, "b": b}),
        digest_of({"a": a.half(), "b": b}),
        digest_of({"a": a.bfloat16(), "b": b}),
        digest_of({"a": a.view(2, 2), "b": b}),
        digest_of({"b": a, "a": b}),
    ]
    assert len(set(digests)) == len(digests)
    assert digest_of({"b": b, "a": a}) == digests[0]
    assert digest_of({"a": a, "b": b.t()}) == digests[0]


def test_a_classifier_in_published_weights_is_left_out(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, of the extra encoders")
    spec = replace(BUILT_IN["vit-small"], arguments={"depth": 1, "embed_dim": 24, "num_heads": 2})
    whole = timm.create_model(spec.architecture, num_classes=1000, **spec.arguments)
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    encoder = load_encoder(spec, weights=tmp_path, device="cpu")
    assert encoder.sha256 != with_random_weights(spec, device="cpu").sha256
    assert "head.weight" not in encoder.network.state_dict()


def test_random_weights_follow_from_the_seed_and_say_what_they_are() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        with_random_weights(SMALL, seed=seed, device="cpu") for seed in (3, 3, 4)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.sha256 == again.sha256 != other.sha256
    assert first.weights == "random"
    assert "random" in first.notes[0]


class Malicious:
    """Runs a command where a pickle of it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".pt"])
def test_a_file_that_would_run_code_is_not_loaded(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "ran"
    plain, torched = tmp_path / f"plain{suffix}", tmp_path / f"torched{suffix}"
    plain.write_bytes(pickle.dumps({"stem.0.weight": Malicious(marker)}))
    torch.save({**tensors(), "stem.0.weight": Malicious(marker)}, torched)
    for path in (plain, torched):
        assert "run code" in refused(path)
    assert not marker.exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "whole.safetensors")
    torch.save(tensors(), tmp_path / "whole.bin")
    for name in ("whole.safetensors", "whole.bin"):
        content = (tmp_path / name).read_bytes()
        for cut in (0, 7, 200, len(content) // 2, len(content) - 1):
            path = tmp_path / f"cut{cut}{Path(name).suffix}"
            path.write_bytes(content[:cut])
            refused(path)
    text = tmp_path / "text.safetensors"
    text.write_text("weights")
    assert "fetch it again" in refused(text)
    other = tmp_path / "other.bin"
    torch.save([1, 2], other)
    assert "no mapping of names to tensors" in refused(other)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "whole.bin")
    with (
        zipfile.ZipFile(tmp_path / "whole.bin") as whole,
        zipfile.ZipFile(tmp_path / "packed.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    assert "compressed" in refused(tmp_path / "packed.bin")


def test_weights_of_another_network_are_refused_by_the_tensor(tmp_path: Path) -> None:
    given = tensors()
    path = tmp_path / "model.safetensors"
    weight = given["stem.0.weight"]
    for content, reason in (
        ({n: t for n, t in given.items() if n != "stem.0.weight"}, "it lacks stem.0.weight"),
        ({**given, "head.weight": weight.clone()}, "which the network doesn't, head.weight"),
        (tensors(replace(SMALL, arguments={"width": 8})), "of another shape stages.0.conv1.weight"),
        ({**given, "stem.0.weight": weight * torch.inf}, "not finite (stem.0.weight)"),
    ):
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
        assert reason in refused(path)


def test_places_without_weights_and_with_too_many_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="gone"):
        load_encoder(SMALL, weights=tmp_path / "gone", device="cpu")
    with pytest.raises(MissingWeightsError, match="holds no weights"):
        load_encoder(SMALL, weights=tmp_path, device="cpu")
    for name in ("a.bin", "b.pth"):
        torch.save(tensors(), tmp_path / name)
    assert "several files of weights (a.bin, b.pth); name one" in refused(tmp_path)
    assert load_encoder(SMALL, weights=tmp_path / "a.bin", device="cpu").weights == "folder"


def test_a_saved_encoder_comes_back_with_its_spec_and_its_note(tmp_path: Path) -> None:
    made = with_random_weights(SMALL, device="cpu")
    save_encoder(tmp_path, SMALL, made.network, weights=FINE_TUNED, made_by={"epochs": 3})
    spec = spec_beside(tmp_path)
    assert spec == SMALL
    read = load_encoder(spec, weights=tmp_path, device="cpu")
    assert (read.weights, read.sha256) == (FINE_TUNED, made.sha256)
    assert "fine-tuned" in read.notes[0]
    assert np.array_equal(read.features(TILES), made.features(TILES))


def test_an_input_that_the_network_does_not_take_is_said_before_the_first_slide() -> None:
    pytest.importorskip("timm", reason="needs timm, of the extra encoders")
    spec = replace(
        BUILT_IN["vit-small"],
        input_px=200,
        arguments={"depth": 1, "embed_dim": 24, "num_heads": 2},
    )
    with pytest.raises(ModelFileError, match="'vit-small' doesn't take tiles of 200 px"):
        with_random_weights(spec, device="cpu")


def test_out_of_memory_halves_the_batch_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = with_random_weights(SMALL, device="cpu")
    told: list[str] = []
    encoder.told = told.append
    expected = encoder.features(TILES)
    room = 3

    def limited(network: torch.nn.Module, spec: EncoderSpec, x: torch.Tensor) -> torch.Tensor:
        if len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made: torch.Tensor = network(x)
        return made

    monkeypatch.setattr(module, "features_of", limited)
    for _ in range(2):
        assert encoder.features(TILES) == pytest.approx(expected, abs=1e-6)
    assert told == ["out of memory: going on with 2 tiles at a time"]
    room = 1
    with pytest.raises(TrainingError, match="with 2 tiles; lower --batch"):
        encoder.features(TILES)
