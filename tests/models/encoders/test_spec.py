"""Specs of encoders: the facts of the built-in ones, and TOML files of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.built_in import BUILT_IN, SELF_SUPERVISED
from models.encoders.network import build_network, features_of
from models.encoders.spec import EncoderSpec, read_spec
from models.errors import ModelFileError

timm = pytest.importorskip("timm", reason="needs timm, of the extra encoders")

# Parameters without a classifier, in millions, and features, as the authors print them: ResNet-50
# 25.6 with 2.05 of them in the classifier; ViT-S 22.1 with 0.385; ViT-B 86.6 with 0.769; UNI 303.4
# and 1024; Virchow2 632 and 2560.
PUBLISHED = {
    "resnet50": (23.5, 0.1, 2048),
    "vit-small": (21.7, 0.1, 384),
    "vit-base": (85.8, 0.1, 768),
    "uni": (303.4, 0.1, 1024),
    "virchow2": (632, 1, 2560),
}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_architectures_are_of_the_published_size(name: str) -> None:
    spec = BUILT_IN[name]
    with torch.device("meta"):  # shapes alone: ViT-H would take 2.5 GB
        network = build_network(spec).eval()
        tiles = torch.zeros(2, 3, spec.input_px, spec.input_px)
        features = features_of(network, spec, tiles)
    millions, within, depth = PUBLISHED[name]
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=within)
    assert features.shape == (2, depth)


def test_virchow2_has_the_tensors_that_its_checkpoint_names() -> None:
    with torch.device("meta"):
        tensors = build_network(BUILT_IN["virchow2"]).state_dict()
    assert tensors["pos_embed"].shape == (1, 1 + 4 + 16 * 16, 1280)
    assert tensors["reg_token"].shape == (1, 4, 1280)
    # The gated unit has two inputs of 3416 side by side.
    assert tensors["blocks.31.mlp.fc1.weight"].shape == (2 * 3416, 1280)
    assert tensors["blocks.31.mlp.fc2.weight"].shape == (1280, 3416)
    assert tensors["blocks.31.ls2.gamma"].shape == (1280,)
    assert "blocks.32.ls2.gamma" not in tensors


@pytest.mark.parametrize("name", ["resnet50", "vit-small", "vit-base"])
def test_preprocessing_is_what_timm_says_of_these_weights(name: str) -> None:
    spec = BUILT_IN[name]
    config = timm.get_pretrained_cfg(spec.architecture).to_dict()
    assert spec.hub == config["hf_hub_id"]
    assert (spec.mean, spec.std) == (config["mean"], config["std"])
    assert spec.interpolation == config["interpolation"]
    assert config["input_size"] == (3, spec.input_px, spec.input_px)
    assert spec.licence is not None
    assert spec.licence.lower() == config["license"]


def shallow(name: str) -> tuple[EncoderSpec, torch.nn.Module, torch.Tensor]:
    spec = BUILT_IN[name]
    spec = replace(spec, arguments={**spec.arguments, "depth": 2, "embed_dim": 160, "num_heads": 4})
    torch.manual_seed(0)
    return spec, build_network(spec).eval(), torch.rand(2, 3, 224, 224)


def test_virchow2_gives_class_token_and_mean_of_patches_without_registers() -> None:
    spec, network, tiles = shallow("virchow2")
    with torch.inference_mode():
        out = network(tiles)  # as its page does: all tokens
        assert out.shape == (2, 261, 160)
        expected = torch.cat([out[:, 0], out[:, 5:].mean(1)], dim=-1)
        assert torch.equal(features_of(network, spec, tiles), expected)
        assert torch.equal(
            features_of(network, replace(spec, feature="mean"), tiles), expected[:, 160:]
        )


def test_uni_gives_its_class_token() -> None:
    spec, network, tiles = shallow("uni")
    with torch.inference_mode():
        assert torch.equal(features_of(network, spec, tiles), network(tiles))
        assert features_of(network, spec, torch.rand(1, 3, 256, 256)).shape == (1, 160)


UNI2 = """
name = "uni2-h"
architecture = "vit_giant_patch14_224"
input_px = 224
mpp = 0.5
feature = "class"
interpolation = "bilinear"
precision = "bfloat16"
hub = "MahmoodLab/UNI2-h"
licence = "CC-BY-NC-ND 4.0"
[arguments]
img_size = 224
patch_size = 14
depth = 24
num_heads = 24
init_values = 1e-5
embed_dim = 1536
mlp_ratio = 5.33334
no_embed_class = true
mlp_layer = "SwiGLUPacked"
act_layer = "SiLU"
reg_tokens = 8
dynamic_img_size = true
"""


def test_a_file_describes_an_encoder_that_is_not_built_in(tmp_path: Path) -> None:
    path = tmp_path / "uni2.toml"
    path.write_text(UNI2, encoding="utf-8")
    spec = read_spec(path)
    assert (spec.name, spec.feature, spec.precision) == ("uni2-h", "class", "bfloat16")
    with torch.device("meta"):
        network = build_network(spec).eval()
        assert features_of(network, spec, torch.zeros(1, 3, 224, 224)).shape == (1, 1536)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(681, abs=1)


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@settings(max_examples=40)
@given(
    name=NAMES,
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    arguments=st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(
            lambda n: not n.startswith("pretrained")
        ),
        st.booleans() | st.integers(-9, 9) | st.floats(-1e6, 1e6) | NAMES,
        max_size=4,
    ),
)
def test_a_spec_comes_back_from_the_file_it_is_written_to(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    mean: tuple[float, float, float],
    arguments: dict[str, object],
) -> None:
    spec = replace(SELF_SUPERVISED, name=name, mean=mean, arguments=arguments)
    path = tmp_path_factory.mktemp("spec") / "encoder.toml"
    path.write_text(spec.to_toml(), encoding="utf-8")
    assert read_spec(path) == spec


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("name =", "nam ="), "unknown key 'nam'; did you mean 'name'?"),
        (("mpp = 0.5", ""), "mpp is missing"),
        (("mpp = 0.5", "mpp = 40"), "microns per pixel from 0.05 to 4"),
        (("input_px = 224", "input_px = 22400"), "a whole number from 1 to 2048"),
        (('"class"', '"cls"'), "'class' or 'class+mean'"),
        (("[arguments]", "mean = [0.5, 2, 0.5]\n[arguments]"), "three numbers from 0 to 1"),
        (("[arguments]", "std = [0, 1, 1]\n[arguments]"), "three numbers from 0.001 to 1"),
        (("img_size = 224", "checkpoint_path = 'x.bin'"), "checkpoint_path can't be set here"),
        (("img_size = 224", "pretrained = true"), "pretrained can't be set here"),
        (("img_size = 224", "img_size = [224, 224]"), "write one value"),
        (("[arguments]", "arguments = ["), "is no TOML"),
    ],
)
def test_a_faulty_file_is_refused_by_name_and_key(
    tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    path = tmp_path / "mine.toml"
    assert change[0] in UNI2
    path.write_text(UNI2.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ModelFileError) as caught:
        read_spec(path)
    assert "mine.toml" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "vit_tiny_patch16"}, "timm has no architecture 'vit_tiny_patch16'"),
        ({"architecture": "hf-hub:somebody/else"}, "timm has no architecture"),
        ({"arguments": {"width": 3}}, "doesn't take its arguments"),
        (
            {"arguments": {"mlp_layer": "os.system"}},
            "take one of Mlp, GluMlp, SwiGLU, SwiGLUPacked",
        ),
    ],
)
def test_what_timm_does_not_take_is_said(change: dict[str, object], reason: str) -> None:
    with torch.device("meta"), pytest.raises(ModelFileError, match="vit-small") as caught:
        build_network(replace(BUILT_IN["vit-small"], **change))
    assert reason in str(caught.value)


def test_tokens_are_not_asked_of_a_network_without_them() -> None:
    spec = replace(BUILT_IN["resnet50"], feature="class+mean")
    with torch.device("meta"):
        network = build_network(spec).eval()
        with pytest.raises(ModelFileError, match='set feature = "pooled"'):
            features_of(network, spec, torch.zeros(1, 3, 224, 224))
