"""A page a slide that says in a pathologist's terms what a prediction rests on.

Heatmaps, the tiles that count most for each class as pictures, labelled tiles of the training part
that look most like them, and how much of the attention lies on tissue, on pen marks and on what
experts annotated.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotation.errors import SlideError
from annotation.paths import file_name, inside, replacing
from annotation.slide_images import image_of
from annotation.store import SOFTWARE_VERSION
from consensus.columns import NEGATIVE_NAMES
from consensus.reporting.numbers import count_text, number_text, percent_text
from consensus.reporting.page import page_environment
from models.encoders.encoder import Encoder
from models.encoding import SlideImage, open_image
from models.errors import TileError
from models.model_file import ModelDescription
from models.prediction.attention_places import PlaceShare, attention_warnings, place_shares
from models.prediction.heatmaps import draw_heatmap, draw_regions, heatmaps_of
from models.prediction.labelled_examples import Example, LabelledExamples
from models.prediction.predictor import Predicted
from models.reader import Reader, open_reader

__all__ = ["Explanation", "ShownExample", "TopTile", "collect_explanation", "write_explanation"]

TOP_TILES: Final = 6
"""Of each class."""

TILES_WITH_EXAMPLES: Final = 3
EXAMPLES: Final = 3
JPEG_QUALITY: Final = 85
PICTURE_PX: Final = 224


@dataclass(frozen=True)
class ShownExample:
    """A labelled tile that looks like another; without an image there is no picture."""

    example: Example
    picture: str | None


@dataclass(frozen=True)
class TopTile:
    """A tile that counts much for a class, with its picture.

    ``times_equal`` is its attention as a multiple of an equal share, None without attention.
    """

    x_px: float
    y_px: float
    probability: float
    times_equal: float | None
    picture: str
    examples: list[ShownExample] = field(default_factory=list)


@dataclass(frozen=True)
class Explanation:
    """What stands on the page.

    Attributes
    ----------
    tiles
        Of each class the first ones: by probability, and where there is attention by the product.
    places, annotated
        Where attention lies; None where there is nothing to compare with.
    labelled_by
        What the examples' labels are; None without examples.
    """

    predicted: Predicted
    warnings: list[str]
    tiles: dict[str, list[TopTile]]
    places: list[PlaceShare]
    annotated: Sequence[PlaceShare] | None
    labelled_by: str | None


def collect_explanation(
    image: SlideImage,
    predicted: Predicted,
    *,
    encoder: Encoder | None = None,
    annotated: Sequence[PlaceShare] | None = None,
    examples: LabelledExamples | None = None,
) -> Explanation:
    """What explains a prediction.

    Parameters
    ----------
    image
        The slide that was predicted.
    encoder
        Of the models; needed with examples.
    annotated
        See :func:`models.prediction.attention_places.annotated_shares`.
    """
    places = place_shares(predicted)
    tiles: dict[str, list[TopTile]] = {}
    with ExitStack() as opened:
        reader = opened.enter_context(open_image(image, verify=False))
        others = _Readers(opened)
        for column, name in enumerate(predicted.slide.classes):
            if name not in NEGATIVE_NAMES:
                chosen = _top(predicted, column)
                pixels = [_pixels(reader, predicted, number) for number in chosen]
                alike: list[list[ShownExample]] = [[] for _ in chosen]
                if examples is not None and encoder is not None:
                    alike = _alike(pixels, predicted, encoder, examples, others)
                tiles[name] = [
                    _top_tile(predicted, column, *each)
                    for each in zip(chosen, pixels, alike, strict=True)
                ]
    return Explanation(
        predicted,
        attention_warnings(places),
        tiles,
        places,
        annotated,
        None if examples is None else examples.labelled_by,
    )


def write_explanation(
    folder: Path,
    image: SlideImage,
    predicted: Predicted,
    models: Mapping[str, ModelDescription],
    *,
    encoder: Encoder | None = None,
    annotated: Sequence[PlaceShare] | None = None,
    examples: LabelledExamples | None = None,
) -> Path:
    """Write a slide's page, one self-contained HTML file named after the slide.

    Parameters
    ----------
    models
        Those that predicted, by name.
    image, encoder, annotated, examples
        See :func:`collect_explanation`.
    """
    explanation = collect_explanation(
        image, predicted, encoder=encoder, annotated=annotated, examples=examples
    )
    path = inside(folder, file_name(predicted.slide.slide, ".html"))
    with replacing(path) as temporary:
        temporary.write_text(_page(explanation, models), encoding="utf-8")
    return path


def _page(explanation: Explanation, models: Mapping[str, ModelDescription]) -> str:
    predicted = explanation.predicted
    pictures = [
        (heatmap, _uri(draw_heatmap(predicted, heatmap), "png"))
        for heatmap in heatmaps_of(predicted)
    ]
    regions = _uri(draw_regions(predicted), "png") if predicted.regions else None
    environment = page_environment(("models", "prediction"))
    environment.filters |= {
        "percent": percent_text, "number": number_text, "count": count_text,
    }  # fmt: skip
    return environment.get_template("explanation.html.jinja").render(
        explanation=explanation,
        slide=predicted.slide,
        result=predicted.result,
        models=models,
        pictures=pictures,
        regions=regions,
        most_nats=math.log(len(predicted.slide.classes)),
        software=f"pathquorum {SOFTWARE_VERSION}",
    )


def _top(predicted: Predicted, column: int) -> list[int]:
    """The numbers of the tiles that count most for a class."""
    slide = predicted.slide
    score = slide.probability[:, column].astype(np.float64)
    if slide.attention is not None:
        score = score * slide.attention
    return [int(number) for number in np.argsort(-score, kind="stable")[:TOP_TILES]]


def _top_tile(
    predicted: Predicted,
    column: int,
    number: int,
    pixels: NDArray[np.uint8],
    examples: list[ShownExample],
) -> TopTile:
    slide = predicted.slide
    x_px, y_px = slide.coordinates[number].tolist()
    attention = slide.attention
    times = None if attention is None else float(attention[number] * len(attention))
    probability = float(slide.probability[number, column])
    return TopTile(x_px, y_px, probability, times, _picture(pixels), examples)


def _pixels(reader: Reader, predicted: Predicted, number: int) -> NDArray[np.uint8]:
    """A tile as the model saw it."""
    settings = predicted.tissue.grid.settings
    x_px, y_px = predicted.slide.coordinates[number].tolist()
    return reader.read(x_px, y_px, mpp=settings.mpp, size_px=settings.size_px)


class _Readers:
    """Readers of the examples' slides, each opened once."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._readers: dict[str, Reader | None] = {}

    def picture(self, example: Example, mpp: float, size_px: int) -> str | None:
        """An example's picture; None where its slide has no image, or can't be read there."""
        slide, place = example.slide, example.place
        if slide.name not in self._readers:
            try:
                reader = open_reader(image_of(slide), mpp=slide.mpp)
            except SlideError:
                self._readers[slide.name] = None
            else:
                self._readers[slide.name] = self._opened.enter_context(reader)
        found = self._readers[slide.name]
        if found is None or place.x_px is None or place.y_px is None:
            return None
        try:
            return _picture(found.read(place.x_px, place.y_px, mpp=mpp, size_px=size_px))
        except TileError:
            return None


def _alike(
    pixels: Sequence[NDArray[np.uint8]],
    predicted: Predicted,
    encoder: Encoder,
    examples: LabelledExamples,
    readers: _Readers,
) -> list[list[ShownExample]]:
    """The labelled examples most like each of the first tiles; of the others none."""
    settings = predicted.tissue.grid.settings
    first = pixels[:TILES_WITH_EXAMPLES]
    features = encoder.features(np.stack([encoder.prepared(tile) for tile in first]))
    nearest = examples.nearest(features, number=EXAMPLES, but=predicted.slide.fingerprint)
    shown = [
        [ShownExample(one, readers.picture(one, settings.mpp, settings.size_px)) for one in of_tile]
        for of_tile in nearest
    ]
    return shown + [[] for _ in pixels[TILES_WITH_EXAMPLES:]]


def _picture(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return _uri(stream.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
