"""One slide by models of every kind: what is said of it, and that it is said the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray

from annotation.errors import InputError, PathquorumError
from models.encoders.encoder import Encoder, with_random_weights
from models.encoding import Encoding, SlideImage, encode_slide
from models.errors import TileError
from models.evaluation.calibration import tempered
from models.features import Features, read_features, write_features
from models.mil.training import predict
from models.model_file import TrainedModel
from models.prediction.predictor import Predicted, Predictor
from models.prediction.settings import PredictionSettings, slide_seed
from models.prediction.slide_file import read_slide_prediction, write_slide_prediction
from models.prediction.uncertainty import entropy_of
from models.tiling.settings import TileSettings, TissueSettings
from tests.models.prediction.conftest import CLASSES, TILES, MakeModel
from tests.models.slides import write_jpeg_tiff

KINDS: dict[str, dict[str, Any]] = {
    "abmil": {"hidden": 16},
    "clam-sb": {"hidden": 16},
    "mean": {"hidden": 16},
    "max": {"hidden": 16},
    "tile-mlp": {"hidden": 16},
    "unet": {"width": 8, "depth": 1},
    "smp": {},
}
OF_PIXELS = ("unet", "smp")
ONE_PASS = PredictionSettings(method="none")
FIVE_PASSES = PredictionSettings(passes=5, overlap=0.2)
ENSEMBLE = PredictionSettings(method="ensemble")
MEASURES = ("probability", "variance", "entropy", "mutual_information")


@pytest.fixture(scope="module")
def features(
    image: SlideImage, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Features:
    """What `encode` writes of the slide."""
    to = tmp_path_factory.mktemp("features")
    return read_features(encode_slide(image, encoder, Encoding(tiles=TILES, to=to)).file)


@pytest.fixture
def say(make_model: MakeModel, encoder: Encoder, image: SlideImage) -> Any:
    """Predicts the slide with one model, or with several of other weights."""

    def call(
        architecture: str,
        settings: PredictionSettings = ONE_PASS,
        *,
        members: int = 1,
        **arguments: Any,
    ) -> Predicted:
        given = {**KINDS[architecture], **arguments}
        models = [make_model(architecture, seed=seed, **given) for seed in range(members)]
        used = None if architecture in OF_PIXELS else encoder
        return Predictor.open(models, encoder=used, settings=settings).predict(image)

    return call


def by_class(values: dict[str, float]) -> NDArray[np.float64]:
    return np.array([values[name] for name in CLASSES])


@pytest.mark.parametrize("architecture", KINDS)
def test_models_of_each_kind_predict_a_slide_and_its_file_holds_it(
    say: Any, architecture: str, tmp_path: Path
) -> None:
    found: Predicted = say(architecture, replace(ONE_PASS, overlap=0.0))
    result = msgspec.json.decode(msgspec.json.encode(found.result))
    assert result == {**found.result, "input": result["input"]}
    path = tmp_path / "a.h5"
    write_slide_prediction(path, found.slide)
    assert read_slide_prediction(path).slide == "DEMO-01"
    assert result["tiles"] == len(found.slide.coordinates) > 10
    assert sum(result["probability"].values()) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.slide.probability.sum(axis=1), 1, atol=1e-5)
    assert result["uncertainty"] == "none: a single pass"
    assert (result["ci_low"], result["ci_high"]) == (None, None)
    assert result["mutual_information"] == 0
    assert not found.slide.variance.any()
    assert not found.slide.mutual_information.any()
    assert result["single_pass"] == pytest.approx(
        {"max_probability": result["max_probability"], "entropy": result["entropy"]}
    )
    assert result["regions"] == len(found.regions)
    has_attention = architecture in ("abmil", "clam-sb")
    assert (found.slide.attention is not None) == has_attention
    if has_attention:
        assert found.slide.attention.sum() == pytest.approx(1, abs=1e-5)
    assert (found.slide.feature_mean is None) == (architecture in OF_PIXELS)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("architecture", ["abmil", "clam-sb", "mean", "max"])
def test_a_bag_is_judged_as_in_evaluation_at_the_models_temperature(
    say: Any, make_model: MakeModel, features: Features, architecture: str, temperature: float
) -> None:
    model = make_model(architecture, **KINDS[architecture])
    wanted = predict(model.network, [features.features], np.array([0]))[0]
    found: Predicted = say(
        architecture, PredictionSettings(method="none", batch=4), temperature=temperature
    )
    cooled = tempered(wanted[None], temperature)[0]
    np.testing.assert_allclose(by_class(found.result["probability"]), cooled, atol=1e-6)
    assert found.result["entropy"] == pytest.approx(entropy_of(cooled), abs=1e-6)
    np.testing.assert_array_equal(found.slide.coordinates, features.coordinates)
    np.testing.assert_allclose(found.slide.feature_mean, features.features.mean(axis=0), atol=1e-5)
    held = {row.tobytes() for row in features.features}
    assert {row.tobytes() for row in found.slide.feature_sample} <= held


def test_a_tile_is_judged_by_itself_and_the_slide_is_the_mean(
    say: Any, make_model: MakeModel, features: Features
) -> None:
    model = make_model("tile-mlp", **KINDS["tile-mlp"])
    tiles = features.features[:, None]
    wanted = predict(model.network, tiles, np.arange(len(tiles)), batch=4)
    found: Predicted = say("tile-mlp")
    np.testing.assert_allclose(found.slide.probability, wanted, atol=1e-6)
    mean = by_class(found.result["probability"])
    np.testing.assert_allclose(mean, wanted.mean(axis=0), atol=1e-6)
    assert found.result["entropy"] == pytest.approx(entropy_of(wanted).mean(), abs=1e-6)
    assert found.result["max_probability"] == pytest.approx(wanted.max(axis=1).mean(), abs=1e-6)


def same(one: Predicted, other: Predicted, *, within: float = 0.0) -> None:
    assert one.result["kind"] == other.result["kind"]
    for name in ("probability", "variance", "ci_low", "ci_high"):
        np.testing.assert_allclose(
            by_class(one.result[name]), by_class(other.result[name]), rtol=0, atol=within
        )
    for name in MEASURES:
        np.testing.assert_allclose(
            getattr(one.slide, name), getattr(other.slide, name), rtol=0, atol=within
        )


DROPPING: dict[str, dict[str, Any]] = {
    "abmil": {"dropout": 0.3},
    "tile-mlp": {"dropout": 0.3},
    "unet": {"dropout": 0.3},
}


@pytest.mark.parametrize("architecture", DROPPING)
def test_passes_with_dropout_disagree_and_say_so(say: Any, architecture: str) -> None:
    found: Predicted = say(architecture, FIVE_PASSES, **DROPPING[architecture])
    result, slide = found.result, found.slide
    seen = "whole model" if architecture in OF_PIXELS else "head-only"
    assert result["uncertainty"] == f"mc-dropout ({seen}), 5 passes"
    assert result["interval"] == "2.5th to 97.5th percentile of 5 passes"
    low, mean, high = (by_class(result[name]) for name in ("ci_low", "probability", "ci_high"))
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (low < high).all()
    assert 0 < result["mutual_information"] < result["entropy"]
    assert (slide.mutual_information >= 0).all()
    assert slide.mutual_information.max() > 0
    assert (slide.mutual_information <= slide.entropy + 1e-6).all()
    assert slide.variance.max() > 0
    settings = replace(ONE_PASS, overlap=FIVE_PASSES.overlap)
    once: Predicted = say(architecture, settings, **DROPPING[architecture])
    assert result["single_pass"] == pytest.approx(once.result["single_pass"], abs=1e-6)


@pytest.mark.parametrize("architecture", DROPPING)
def test_a_slide_gets_the_same_whatever_goes_before_it_and_however_it_is_cut(
    make_model: MakeModel, encoder: Encoder, image: SlideImage, architecture: str
) -> None:
    model = make_model(architecture, **KINDS[architecture], **DROPPING[architecture])
    used = None if architecture in OF_PIXELS else encoder

    def opened(settings: PredictionSettings) -> Predictor:
        return Predictor.open([model], encoder=used, settings=settings)

    settings = replace(FIVE_PASSES, passes=3)
    predictor = opened(settings)
    first = predictor.predict(image)
    torch.rand(7)
    same(first, predictor.predict(image))
    same(first, opened(replace(settings, threads=1)).predict(image))
    same(first, opened(replace(settings, batch=3)).predict(image), within=1e-5)
    other = opened(replace(settings, seed=1)).predict(image)
    assert other.result["variance"] != first.result["variance"]


def test_passes_reach_what_all_thinned_networks_say_together(
    make_model: MakeModel, encoder: Encoder, image: SlideImage, features: Features
) -> None:
    dropout, hidden = 0.4, 4
    model = make_model("mean", hidden=hidden, dropout=dropout)
    settings = PredictionSettings(passes=1000)
    found = Predictor.open([model], encoder=encoder, settings=settings).predict(image)
    with torch.no_grad():
        tiles = torch.from_numpy(features.features)
        embedded = torch.relu(model.network.embed.linear(tiles)).mean(dim=0)
        said, often = [], []
        for kept in product((0.0, 1.0), repeat=hidden):
            thinned = embedded * torch.tensor(kept) / (1 - dropout)
            said.append(model.network.head(thinned).exp().double().numpy())
            often.append(np.prod([1 - dropout if k else dropout for k in kept]))
    p, weight = np.stack(said), np.array(often)
    mean = weight @ p
    variance = weight @ (p - mean) ** 2
    disagreed = torch.distributions.Categorical(torch.from_numpy(mean)).entropy() - torch.sum(
        torch.from_numpy(weight) * torch.distributions.Categorical(torch.from_numpy(p)).entropy()
    )
    error = np.sqrt(variance / settings.passes)
    assert (np.abs(by_class(found.result["probability"]) - mean) < 5 * error).all()
    np.testing.assert_allclose(by_class(found.result["variance"]), variance, rtol=0.2)
    assert found.result["mutual_information"] == pytest.approx(float(disagreed), rel=0.2)


def test_where_the_encoder_drops_too_all_of_the_model_is_thinned(
    make_model: MakeModel, encoder: Encoder, image: SlideImage
) -> None:
    dropping = with_random_weights(encoder.spec, device="cpu")
    dropping.network.stages.append(torch.nn.Dropout2d(0.3).eval())
    model = make_model("abmil", **KINDS["abmil"])
    found = Predictor.open([model], encoder=dropping, settings=FIVE_PASSES).predict(image)
    assert found.result["uncertainty"] == "mc-dropout (whole model), 5 passes"
    assert found.result["mutual_information"] > 0
    plain = Predictor.open([model], encoder=encoder, settings=ONE_PASS).predict(image)
    np.testing.assert_array_equal(found.slide.feature_mean, plain.slide.feature_mean)
    assert found.result["single_pass"] == plain.result["single_pass"]


@pytest.mark.parametrize("architecture", ["abmil", "tile-mlp"])
def test_features_that_were_kept_give_what_the_encoder_gives(
    make_model: MakeModel,
    encoder: Encoder,
    image: SlideImage,
    architecture: str,
    tmp_path: Path,
) -> None:
    model = make_model(architecture, **KINDS[architecture], **DROPPING[architecture])
    encode_slide(image, encoder, Encoding(tiles=TILES, to=tmp_path))
    told: list[tuple[int, int]] = []
    kept = Predictor.open([model], features=tmp_path, settings=FIVE_PASSES).predict(
        image, lambda *done: told.append(done)
    )
    made = Predictor.open([model], encoder=encoder, settings=FIVE_PASSES).predict(image)
    same(kept, made, within=1e-6)
    assert kept.result["uncertainty"] == "mc-dropout (head-only), 5 passes"
    assert kept.result["notes"] == made.result["notes"]
    assert "weights are random" in kept.result["notes"][0]
    np.testing.assert_allclose(kept.slide.feature_sample, made.slide.feature_sample, atol=1e-6)
    assert told[-1] == (len(kept.slide.coordinates),) * 2


def test_kept_features_of_something_else_are_refused(
    make_model: MakeModel, encoder: Encoder, image: SlideImage, tmp_path: Path
) -> None:
    model = make_model("abmil", **KINDS["abmil"])
    predictor = Predictor.open([model], features=tmp_path, settings=ONE_PASS)
    with pytest.raises(TileError, match=r"DEMO-01\.h5"):
        predictor.predict(image)
    file = encode_slide(image, encoder, Encoding(tiles=TILES, to=tmp_path)).file
    good = read_features(file)
    for changed, told in (
        ({"fingerprint": "0" * 64}, "fingerprints differ"),
        ({"encoder_sha256": "0" * 64}, "another encoder"),
        ({"precision": "float16"}, "another precision"),
        ({"settings": {"mpp": 1.0}}, "another settings of tiles"),
    ):
        origin = replace(good.origin, **changed)
        write_features(file, origin, good.coordinates, [good.features])
        with pytest.raises(PathquorumError, match=told):
            predictor.predict(image)
    fewer = replace(good.origin, missing=1)
    write_features(file, fewer, good.coordinates[:-1], [good.features[:-1]])
    found = predictor.predict(image)
    assert found.result["tiles"] == len(good.coordinates) - 1
    assert "1 tiles could not be read" in found.result["notes"][0]


@pytest.mark.parametrize("architecture", ["abmil", "tile-mlp", "unet"])
def test_an_ensemble_says_the_mean_of_its_members(
    say: Any, make_model: MakeModel, encoder: Encoder, image: SlideImage, architecture: str
) -> None:
    together: Predicted = say(architecture, ENSEMBLE, members=3)
    used = None if architecture in OF_PIXELS else encoder
    models = [make_model(architecture, seed=n, **KINDS[architecture]) for n in range(3)]
    alone = [
        Predictor.open([model], encoder=used, settings=ONE_PASS).predict(image) for model in models
    ]
    said = np.stack([by_class(one.result["probability"]) for one in alone])
    assert together.result["uncertainty"] == "ensemble of 3 models"
    np.testing.assert_allclose(by_class(together.result["probability"]), said.mean(0), atol=1e-6)
    np.testing.assert_allclose(by_class(together.result["variance"]), said.var(0), atol=1e-6)
    tiles = np.stack([one.slide.probability for one in alone])
    np.testing.assert_allclose(together.slide.probability, tiles.mean(axis=0), atol=1e-5)
    assert together.slide.weights_sha256 == tuple(f"{n:064x}" for n in range(3))
    assert together.result["single_pass"] == pytest.approx(alone[0].result["single_pass"], abs=1e-6)
    assert together.result["mutual_information"] > 0


def test_each_member_has_its_own_temperature(
    make_model: MakeModel, encoder: Encoder, image: SlideImage
) -> None:
    members = [
        make_model("abmil", seed=n, temperature=t, **KINDS["abmil"])
        for n, t in enumerate((1.0, 4.0))
    ]
    alone = [
        Predictor.open([one], encoder=encoder, settings=ONE_PASS).predict(image) for one in members
    ]
    together = Predictor.open(members, encoder=encoder, settings=ENSEMBLE).predict(image)
    said = [by_class(one.result["probability"]) for one in alone]
    np.testing.assert_allclose(
        by_class(together.result["probability"]), np.mean(said, axis=0), atol=1e-9
    )


def test_masks_count_the_tissue_alone_and_add_up(say: Any) -> None:
    found: Predicted = say("unet", PredictionSettings(method="none", min_region_um2=0.0))
    slide, tissue = found.slide, found.tissue
    inside = tissue.mask.share(slide.coordinates[:, 0], slide.coordinates[:, 1], slide.side_px)
    assert (inside > 0).all()
    total = sum(found.result["area_um2"].values())
    areas = np.array([region.polygon.area for region in found.regions]) * slide.mpp**2
    assert areas.sum() == pytest.approx(total)
    assert found.result["dropped_um2"] == dict.fromkeys(("Benign", "Low", "High"), 0.0)
    of_tissue = tissue.mask.tissue.sum() * (tissue.mask.cell_px * slide.mpp) ** 2
    assert total < of_tissue
    assert total > 0.2 * of_tissue


def refused(members: Sequence[TrainedModel], encoder: Encoder | None, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        Predictor.open(members, encoder=encoder, settings=PredictionSettings(**settings))
    return str(caught.value)


def test_what_cannot_predict_is_refused_in_one_line(
    make_model: MakeModel, encoder: Encoder
) -> None:
    abmil, other = (make_model("abmil", seed=n, **KINDS["abmil"]) for n in range(2))
    unet = make_model("unet", **KINDS["unet"])
    assert "no dropout" in refused([abmil], encoder)
    assert "--uncertainty ensemble or none" in refused([unet], None)
    assert "two models or more" in refused([abmil], encoder, method="ensemble")
    assert "2 models are an ensemble" in refused([abmil, other], encoder, method="none")
    assert "differ in kind" in refused([abmil, unet], encoder, method="ensemble")
    renamed = TrainedModel(
        other.network, msgspec.structs.replace(other.description, classes=["a", "b", "c", "d"])
    )
    assert "differ in classes" in refused([abmil, renamed], encoder, method="ensemble")
    coarser = TrainedModel(
        other.network,
        msgspec.structs.replace(
            other.description, input={**other.description.input, "tiling_sha256": "1" * 64}
        ),
    )
    assert "differ in tiling_sha256" in refused([abmil, coarser], encoder, method="ensemble")
    assert "give --encoder" in refused([abmil], None, method="none")
    drawn = with_random_weights(encoder.spec, seed=1, device="cpu")
    assert "is not the one whose features" in refused([abmil], drawn, method="none")
    halves = with_random_weights(encoder.spec, device="cpu", precision="bfloat16")
    assert "--precision float32" in refused([abmil], halves, method="none")
    assert "leave --encoder" in refused([unet], encoder, method="none")
    with pytest.raises(InputError, match="not both"):
        Predictor.open([abmil], encoder=encoder, features=Path(), settings=ONE_PASS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"method": "guess"}, "'guess' is unknown"),
        ({"passes": 1}, "passes 1"),
        ({"batch": 0}, "batch 0"),
        ({"overlap": 1.0}, "overlap 1.0"),
        ({"min_region_um2": float("nan")}, "min_region_um2 nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        PredictionSettings(**wrong)


def test_the_digest_is_of_what_decides_and_seeds_are_the_slides_own() -> None:
    assert replace(ONE_PASS, threads=7).sha256 == ONE_PASS.sha256
    assert replace(ONE_PASS, seed=7).sha256 != ONE_PASS.sha256
    seeds = {slide_seed(seed, digest) for seed in range(10) for digest in ("ab", "cd", "1")}
    assert len(seeds) == 30
    assert all(0 <= seed < 2**63 for seed in seeds)


class Reddish(torch.nn.Module):
    """Tells colours apart, pixel by pixel: class 1 is redder than blue, class 2 the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(8.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        redder = self.slope * (images[:, 0] - images[:, 2])
        nothing = torch.full_like(redder, -20.0)
        return torch.stack([nothing, redder, -redder, nothing], dim=1)


def coloured(folder: Path) -> tuple[SlideImage, shapely.Polygon]:
    """Red tissue on a white slide, and in it a blue island with a red lake, in level-0 pixels."""
    pixels = np.full((1400, 1300, 3), 255, dtype=np.uint8)
    pixels[200:1200, 100:1100] = (220, 100, 100)
    pixels[400:1000, 300:900] = (120, 110, 230)
    pixels[600:800, 500:700] = (220, 100, 100)
    path = write_jpeg_tiff(folder / "colours.tiff", pixels, mpp=0.5, quality=100)
    island = shapely.box(300, 400, 900, 1000).difference(shapely.box(500, 600, 700, 800))
    return SlideImage("colours", str(path)), island


@pytest.mark.parametrize("mpp", [2.0, 1.3])
def test_masks_lie_where_the_colours_do_and_tiles_add_up_to_the_slide(
    make_model: MakeModel, tmp_path: Path, mpp: float
) -> None:
    image, island = coloured(tmp_path)
    tissue = TissueSettings(min_sharpness=0, pens=False, smallest_um2=0, min_share=0)
    tiles = TileSettings(mpp=mpp, size_px=64, tissue=tissue)
    given = make_model("unet", width=8, depth=1).description
    goes_in = {**given.input, "tiling": tiles.to_dict(), "tiling_sha256": tiles.sha256}
    model = TrainedModel(Reddish(), msgspec.structs.replace(given, input=goes_in))
    found = Predictor.open([model], encoder=None, settings=ONE_PASS).predict(image)
    by_name = {region.class_name: region for region in found.regions[:2]}
    blue = by_name["Low"].polygon
    edge_px = 2 * mpp / 0.5  # the colours of an edge run together, in the JPEG and the reduction
    assert blue.hausdorff_distance(island) < edge_px
    assert len(blue.interiors) == 1
    assert blue.symmetric_difference(island).area < edge_px * island.length
    assert by_name["Low"].area_um2 == pytest.approx(blue.area / 4)
    assert by_name["Low"].probability > 0.99
    slide, result = found.slide, found.result
    share = tissue_of(found)
    for column, name in enumerate(CLASSES):
        mean = np.average(slide.probability[:, column], weights=share)
        assert result["probability"][name] == pytest.approx(mean, abs=0.002)
    assert result["probability"]["Low"] == pytest.approx(island.area / 1_000_000, abs=0.01)


def tissue_of(found: Predicted) -> NDArray[np.float64]:
    """The share of each tile that is tissue."""
    x, y = found.slide.coordinates.T
    return np.asarray(found.tissue.mask.share(x, y, found.slide.side_px))


def test_a_temperature_divides_the_logits_of_pixels(
    make_model: MakeModel, image: SlideImage
) -> None:
    hot = make_model("unet", temperature=4.0, **KINDS["unet"])
    softened = make_model("unet", **KINDS["unet"])
    with torch.no_grad():
        for values in softened.network.outward.parameters():
            values /= 4.0
    settings = replace(ONE_PASS, overlap=0.0)
    one, other = (
        Predictor.open([model], settings=settings).predict(image) for model in (hot, softened)
    )
    for name in MEASURES:
        np.testing.assert_allclose(getattr(one.slide, name), getattr(other.slide, name), atol=1e-5)
