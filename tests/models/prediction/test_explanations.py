"""Explanations: what a prediction rests on is what stands on its page, and names do no harm there."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import shapely
from PIL import Image

from annotation.errors import InputError
from annotation.paths import file_name
from annotation.store import Store
from models.datasets.releases import open_training_release
from models.encoders.encoder import Encoder
from models.encoding import Encoding, SlideImage, encode_slide, open_image
from models.errors import TileError
from models.features import FeaturesOrigin, read_features, write_features
from models.model_file import TrainedModel
from models.prediction.attention_places import (
    NOT_ANNOTATED,
    PlaceShare,
    annotated_shares,
    attention_warnings,
    place_shares,
)
from models.prediction.explanations import collect_explanation, write_explanation
from models.prediction.labelled_examples import labelled_examples
from models.prediction.predictor import Predicted, Predictor
from models.prediction.settings import PredictionSettings
from tests.conftest import CommandResult
from tests.consensus.browser import opened, running_browser
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, SPLIT, Item, build_run
from tests.gradient_slides import give_images
from tests.models.prediction.conftest import CLASSES, TILES, MakeModel

Pathquorum = Callable[..., CommandResult]

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> TrainedModel:
    return make_model("abmil", hidden=16, dropout=0.3)


@pytest.fixture(scope="module")
def of_bag(model: TrainedModel, encoder: Encoder, image: SlideImage) -> Predicted:
    settings = PredictionSettings(passes=3)
    return Predictor.open([model], encoder=encoder, settings=settings).predict(image)


@pytest.fixture(scope="module")
def of_masks(make_model: MakeModel, image: SlideImage) -> Predicted:
    settings = PredictionSettings(method="none")
    made = make_model("unet", width=8, depth=1)
    return Predictor.open([made], encoder=None, settings=settings).predict(image)


def attending(predicted: Predicted, *tiles: int) -> Predicted:
    """The same with all attention on some tiles."""
    attention = np.zeros(len(predicted.slide.coordinates), np.float32)
    attention[list(tiles)] = 1 / len(tiles)
    return replace(predicted, slide=replace(predicted.slide, attention=attention))


def test_the_first_tiles_are_those_with_most_and_the_pictures_are_theirs(
    of_bag: Predicted, image: SlideImage
) -> None:
    found = collect_explanation(image, of_bag)
    slide = of_bag.slide
    assert list(found.tiles) == ["Benign", "Low", "High"]
    assert slide.attention is not None
    for name, tiles in found.tiles.items():
        score = slide.probability[:, CLASSES.index(name)] * slide.attention
        best = slide.coordinates[int(score.argmax())]
        assert (tiles[0].x_px, tiles[0].y_px) == tuple(best)
        shown = [tile.probability * (tile.times_equal or 0) for tile in tiles]
        assert shown == sorted(shown, reverse=True)
    tile = found.tiles["High"][0]
    with open_image(image) as reader:
        pixels = reader.read(tile.x_px, tile.y_px, mpp=2.0, size_px=64)
    encoded = base64.b64decode(tile.picture.removeprefix("data:image/jpeg;base64,"))
    shown_pixels = np.asarray(Image.open(io.BytesIO(encoded)), dtype=float)
    assert np.abs(shown_pixels - pixels).mean() < 6


def test_attention_is_shared_out_by_area_and_a_pen_mark_under_it_is_warned_of(
    of_bag: Predicted,
) -> None:
    assert place_shares(of_bag)[0].place == "tissue"
    for shares in (place_shares(of_bag), place_shares(attending(of_bag, 2))):
        assert sum(share.attention for share in shares) == pytest.approx(1, abs=1e-5)
        assert sum(share.equal for share in shares) == pytest.approx(1, abs=1e-5)
    assert attention_warnings(place_shares(of_bag)) == []
    mask, (x, y) = of_bag.tissue.mask, of_bag.slide.coordinates[4]
    cells = int(of_bag.slide.side_px / mask.cell_px)
    left, top = int(x / mask.cell_px), int(y / mask.cell_px)
    pen = np.zeros_like(mask.pen)
    pen[top : top + cells // 2, left : left + cells] = True
    marked = replace(mask, pen=pen, tissue=mask.tissue & ~pen)
    tissue = replace(of_bag.tissue, mask=marked)
    found = place_shares(replace(attending(of_bag, 4), tissue=tissue))
    on = {share.place: share.attention for share in found}
    assert on["pen marks"] == pytest.approx(0.5)
    (told,) = attention_warnings(found)
    assert "50% of the attention lies on pen marks" in told
    glass = replace(mask, tissue=np.zeros_like(mask.tissue))
    nowhere = place_shares(replace(of_bag, tissue=replace(of_bag.tissue, mask=glass)))
    assert "100% of the attention lies outside" in attention_warnings(nowhere)[0]


def test_without_attention_there_is_nothing_to_warn_of(of_masks: Predicted) -> None:
    assert place_shares(of_masks) == []
    assert attention_warnings([]) == []


def annotated(slide: str) -> list[Item]:
    """Benign on the left of x = 300, tumor up to 500, then open up to 600; nothing beyond."""
    return [
        Item(slide, shapely.box(0, 0, 300, 800), ALL_BENIGN, "Benign"),
        Item(slide, shapely.box(300, 0, 500, 800), MOST_TUMOR, "=Tumor"),
        Item(slide, shapely.box(500, 0, 600, 800), SPLIT, None, "disputed", places=()),
    ]


def released(
    store: Store, pathquorum: Pathquorum, items: list[Item], folder: Path, task: str = "regions"
) -> None:
    slides = {item.slide: {"patient": f"p {item.slide}"} for item in items}
    run = build_run(store, items, slides=slides, task=task)
    give_images(store, folder)
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.5,test=0.5")
    assert made.status == 0, made.err


def test_attention_on_each_annotated_class_is_by_area(
    store: Store, pathquorum: Pathquorum, of_bag: Predicted, tmp_path: Path
) -> None:
    released(store, pathquorum, [*annotated("A"), *annotated("B")], tmp_path)
    slide = replace(
        of_bag.slide,
        side_px=200.0,
        coordinates=np.array([[0.0, 0.0], [200.0, 0.0], [400.0, 100.0], [700.0, 0.0]]),
        attention=np.array([0.1, 0.6, 0.2, 0.1], np.float32),
    )
    with store.reading() as session:
        release = open_training_release(session, "v1")
        (a, _) = release.slides
        here = replace(of_bag, slide=replace(slide, fingerprint=a.fingerprint or ""))
        shares = annotated_shares(release, here)
        assert annotated_shares(release, replace(of_bag, slide=slide)) is None
        without = replace(here, slide=replace(here.slide, attention=None))
        assert annotated_shares(release, without) is None
    assert shares == [
        PlaceShare("Benign", pytest.approx(0.1 + 0.3), pytest.approx(1.5 / 4)),
        PlaceShare("=Tumor", pytest.approx(0.3 + 0.1), pytest.approx(1.0 / 4)),
        PlaceShare("background", 0.0, 0.0),
        PlaceShare(NOT_ANNOTATED, pytest.approx(0.2), pytest.approx(1.5 / 4)),
    ]


def with_features(store: Store, folder: Path, encoder: Encoder) -> dict[str, str]:
    """A file a slide: on tile n feature n is 1; the part of each slide."""
    with store.reading() as session:
        release = open_training_release(session, "v1")
    for slide in release.slides:
        origin = FeaturesOrigin(
            slide.name, slide.fingerprint or "", 1000, 800, 0.5, 100.0, {"mpp": 1.0},
            "tiny", encoder.sha256, "random", "float32",
        )  # fmt: skip
        corners = np.column_stack([np.arange(10) * 100.0, np.full(10, 100.0)])
        write_features(
            folder / file_name(slide.name, ".h5"),
            origin,
            corners,
            [np.eye(10, 32, dtype=np.float32)],
        )
    return {slide.name: slide.part for slide in release.slides}


@pytest.mark.parametrize("task", ["regions", "slides"])
def test_the_nearest_examples_are_labelled_tiles_that_the_model_was_trained_on(
    store: Store,
    pathquorum: Pathquorum,
    model: TrainedModel,
    encoder: Encoder,
    tmp_path: Path,
    task: str,
) -> None:
    names = [f"S{n}" for n in range(6)]
    if task == "regions":
        items = [item for name in names for item in annotated(name)]
    else:
        items = [Item(name, None, MOST_TUMOR, "=Tumor") for name in names]
    released(store, pathquorum, items, tmp_path / "slides", task)
    parts = with_features(store, tmp_path / "features", encoder)
    trained = sorted(name for name in names if parts[name] == "train")
    assert 0 < len(trained) < 6
    described = msgspec.structs.replace(model.description, split={"train": trained})
    with store.reading() as session:
        release = open_training_release(session, "v1")
        examples = labelled_examples(release, tmp_path / "features", described)
        with pytest.raises(TileError, match="no labelled tile"):
            labelled_examples(
                release, tmp_path / "features", msgspec.structs.replace(described, split={})
            )
        other = msgspec.structs.replace(described, input={"encoder_sha256": "0" * 64})
        with pytest.raises(TileError, match="another encoder"):
            labelled_examples(release, tmp_path / "features", other)
    query = np.zeros((2, 32), np.float32)
    query[0, 3], query[0, 0], query[1, 1] = 2.0, 1.0, 0.5
    of_first, of_second = examples.nearest(query, number=len(trained))
    assert {one.place.slide for one in of_first} == set(trained)
    assert {one.place.x_px for one in of_first} == {300.0}
    wanted = {"regions": ("=Tumor", "Benign"), "slides": ("=Tumor", "=Tumor")}[task]
    assert ({one.label for one in of_first}, {one.label for one in of_second}) == (
        {wanted[0]},
        {wanted[1]},
    )
    assert of_first[0].similarity == pytest.approx(2 / np.sqrt(5))
    assert of_second[0].similarity == pytest.approx(1)
    own = of_first[0].slide.fingerprint
    rest = examples.nearest(query, number=len(examples), but=own)[0]
    assert own not in {one.slide.fingerprint for one in rest}


def test_the_page_is_whole_by_itself_and_its_names_are_text(
    store: Store,
    pathquorum: Pathquorum,
    model: TrainedModel,
    encoder: Encoder,
    of_bag: Predicted,
    image: SlideImage,
    tmp_path: Path,
) -> None:
    released(store, pathquorum, [*annotated("A"), *annotated(HOSTILE)], tmp_path / "slides")
    with_features(store, tmp_path / "features", encoder)
    described = msgspec.structs.replace(model.description, split={"train": ["A", HOSTILE]})
    with store.reading() as session:
        release = open_training_release(session, "v1")
        examples = labelled_examples(release, tmp_path / "features", described)
    classes = ("background", HOSTILE, "Low", "High")
    names = dict(zip(CLASSES, classes, strict=True))
    result = {
        **of_bag.result,
        "classes": list(classes),
        "predicted": HOSTILE,
        **{
            key: {names[name]: value for name, value in of_bag.result[key].items()}
            for key in ("probability", "ci_low", "ci_high", "variance")
        },
    }
    slide = replace(of_bag.slide, slide=f"../{HOSTILE}", classes=classes)
    page = write_explanation(
        tmp_path / "pages",
        image,
        replace(of_bag, slide=slide, result=result),
        {HOSTILE: described},
        encoder=encoder,
        annotated=[PlaceShare(HOSTILE, 0.3, 0.2)],
        examples=examples,
    )
    assert page.parent == tmp_path / "pages"
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "mc-dropout (head-only), 3 passes" in text
    assert "For reference only" in text
    assert described.weights_sha256 in text
    assert "labelled by its own consensus" in text
    assert set(re.findall(r'src="(.{9})', text)) == {"data:imag"}
    with running_browser() as browser, opened(browser, page, width_px=400) as seen:
        assert (seen.console, seen.requests) == ([], [])
        assert seen.page.locator("h1").inner_text() == f"Prediction of ../{HOSTILE}"
        widths = seen.page.evaluate("[document.body.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert seen.page.evaluate(broken) == 0


def test_a_page_of_masks_shows_regions_and_no_attention(
    of_masks: Predicted, image: SlideImage, make_model: MakeModel, tmp_path: Path
) -> None:
    described = make_model("unet", width=8, depth=1).description
    page = write_explanation(tmp_path, image, of_masks, {"m": described})
    text = page.read_text(encoding="utf-8")
    assert "Share of the tissue" in text
    assert "not outlined" in text
    assert "What attention lies on" not in text
    assert ("outlines of its regions" in text) == bool(of_masks.regions)


@pytest.mark.parametrize("way", ["encoder", "features"])
def test_examples_are_sought_by_the_features_of_the_tiles_shown(
    store: Store,
    pathquorum: Pathquorum,
    model: TrainedModel,
    encoder: Encoder,
    of_bag: Predicted,
    image: SlideImage,
    tmp_path: Path,
    way: str,
) -> None:
    released(store, pathquorum, [*annotated("A"), *annotated("B")], tmp_path / "slides")
    encode_slide(image, encoder, Encoding(tiles=TILES, to=tmp_path / "encoded"))
    with_features(store, tmp_path / "features", encoder)
    described = msgspec.structs.replace(model.description, split={"train": ["A"]})
    with store.reading() as session:
        release = open_training_release(session, "v1")
        examples = labelled_examples(release, tmp_path / "features", described)
    by = {"encoder": encoder} if way == "encoder" else {"features": tmp_path / "encoded"}
    found = collect_explanation(image, of_bag, examples=examples, **by)
    of_slide = read_features(tmp_path / "encoded" / "DEMO-01.h5")
    for tiles in found.tiles.values():
        assert [len(tile.examples) for tile in tiles] == [3, 3, 3, 0, 0, 0]
        for tile in tiles[:3]:
            here = (of_slide.coordinates == (tile.x_px, tile.y_px)).all(axis=1)
            wanted = examples.nearest(of_slide.features[here], number=3)[0]
            shown = [one.example for one in tile.examples]
            assert [one.place for one in shown] == [one.place for one in wanted]
            assert [one.similarity for one in shown] == pytest.approx(
                [one.similarity for one in wanted], abs=1e-5
            )
            assert all(one.picture is not None for one in tile.examples)
    with pytest.raises(InputError, match="give --encoder or --features"):
        collect_explanation(image, of_bag, examples=examples)


def test_examples_of_objects_are_refused(
    store: Store, pathquorum: Pathquorum, model: TrainedModel, tmp_path: Path
) -> None:
    items = [Item(name, shapely.box(0, 0, 9, 9), ALL_BENIGN, "Benign") for name in ("A", "B")]
    released(store, pathquorum, items, tmp_path, "objects")
    with store.reading() as session:
        release = open_training_release(session, "v1")
        with pytest.raises(InputError, match="needs a release of regions"):
            labelled_examples(release, tmp_path, model.description)
