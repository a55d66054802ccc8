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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotation.errors import InputError, SlideError
from annotation.paths import file_name, inside, replacing
from annotation.slide_images import image_of
from annotation.store import SOFTWARE_VERSION
from consensus.columns import NEGATIVE_NAMES
from consensus.reporting.numbers import count_text, number_text, percent_text
from consensus.reporting.page import page_environment
from models.datasets.releases import ReleasedSlide
from models.encoders.encoder import Encoder
from models.encoding import SlideImage, open_image
from models.errors import TileError
from models.features import read_rows
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
    features: Path | None = None,
    annotated: Sequence[PlaceShare] | None = None,
    examples: LabelledExamples | None = None,
) -> Explanation:
    """What explains a prediction.

    Parameters
    ----------
    image
        The slide that was predicted.
    encoder, features
        Those that the slide was predicted with; examples are sought by one of them.
    annotated
        See :func:`models.prediction.attention_places.annotated_shares`.
    """
    places = place_shares(predicted)
    tiles: dict[str, list[TopTile]] = {}
    with ExitStack() as opened:
        reader = opened.enter_context(open_image(image, verify=False))
        alike = None
        if examples is not None:
            alike = _Alike(examples, predicted, encoder, features, opened)
        for column, name in enumerate(predicted.slide.classes):
            if name in NEGATIVE_NAMES:
                continue
            chosen = _top(predicted, column)
            pixels = [_pixels(reader, predicted, number) for number in chosen]
            beside = alike.to(chosen, pixels) if alike is not None else [[] for _ in chosen]
            tiles[name] = [
                _top_tile(predicted, column, *each)
                for each in zip(chosen, pixels, beside, strict=True)
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
    features: Path | None = None,
    annotated: Sequence[PlaceShare] | None = None,
    examples: LabelledExamples | None = None,
) -> Path:
    """Write a slide's page, one self-contained HTML file named after the slide.

    Parameters
    ----------
    models
        Those that predicted, by name.
    image, encoder, features, annotated, examples
        See :func:`collect_explanation`.
    """
    explanation = collect_explanation(
        image,
        predicted,
        encoder=encoder,
        features=features,
        annotated=annotated,
        examples=examples,
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


class _Alike:
    """The labelled examples most like a slide's tiles, with their pictures.

    Slides of the examples are opened once, and closed with the stack.
    """

    def __init__(
        self,
        examples: LabelledExamples,
        predicted: Predicted,
        encoder: Encoder | None,
        features: Path | None,
        opened: ExitStack,
    ) -> None:
        self._examples, self._slide = examples, predicted.slide
        self._tiles = predicted.tissue.grid.settings
        self._encoder, self._features = encoder, features
        self._opened = opened
        self._readers: dict[str, Reader | None] = {}

    def to(
        self, chosen: Sequence[int], pixels: Sequence[NDArray[np.uint8]]
    ) -> list[list[ShownExample]]:
        """Examples for each of the chosen tiles: of the first few, of the others none."""
        first = chosen[:TILES_WITH_EXAMPLES]
        nearest = self._examples.nearest(
            self._features_of(first, pixels[: len(first)]),
            number=EXAMPLES,
            but=self._slide.fingerprint,
        )
        shown = [[ShownExample(one, self._picture(one)) for one in some] for some in nearest]
        return shown + [[] for _ in chosen[len(first) :]]

    def _features_of(
        self, numbers: Sequence[int], pixels: Sequence[NDArray[np.uint8]]
    ) -> NDArray[Any]:
        if self._features is not None:
            path = inside(self._features, file_name(self._slide.slide, ".h5"))
            return read_rows(path, np.array(numbers, dtype=np.int64))
        if self._encoder is None:
            raise InputError(
                "labelled examples are sought by features; give --encoder or --features"
            )
        return self._encoder.features(np.stack([self._encoder.prepared(tile) for tile in pixels]))

    def _picture(self, example: Example) -> str | None:
        """An example's picture; None where its slide has no image, or can't be read there."""
        reader, place = self._reader(example.slide), example.place
        if reader is None or place.x_px is None or place.y_px is None:
            return None
        mpp, size_px = self._tiles.mpp, self._tiles.size_px
        try:
            return _picture(reader.read(place.x_px, place.y_px, mpp=mpp, size_px=size_px))
        except TileError:
            return None

    def _reader(self, slide: ReleasedSlide) -> Reader | None:
        if slide.name not in self._readers:
            try:
                reader = open_reader(image_of(slide), mpp=slide.mpp)
            except SlideError:
                self._readers[slide.name] = None
            else:
                self._readers[slide.name] = self._opened.enter_context(reader)
        return self._readers[slide.name]


def _picture(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return _uri(stream.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
