"""Prediction files: what they hold comes back, and what isn't theirs is named and refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import TileError
from models.prediction.slide_file import (
    SlidePrediction,
    read_slide_prediction,
    write_slide_prediction,
)

TILES, CLASSES, FEATURES = 7, 3, 5


def values(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape, np.float32)


PREDICTION = SlidePrediction(
    slide="A/12 é",
    fingerprint="ab" * 32,
    width_px=4000,
    height_px=3000,
    mpp=0.2528,
    side_px=442.97,
    kind="bags",
    classes=("Benign", "Low, or so", "High"),
    weights_sha256=("cd" * 32, "ef" * 32),
    settings_sha256="01" * 32,
    coordinates=values(TILES, 2).astype(np.float64),
    probability=values(TILES, CLASSES),
    variance=values(TILES, CLASSES),
    entropy=values(TILES),
    mutual_information=values(TILES),
    attention=values(TILES),
    feature_mean=values(FEATURES),
    feature_sample=values(4, FEATURES),
)
FROM_PIXELS = replace(
    PREDICTION, kind="masks", attention=None, feature_mean=None, feature_sample=None
)


@pytest.mark.parametrize("prediction", [PREDICTION, FROM_PIXELS], ids=["bags", "masks"])
def test_what_is_written_comes_back(tmp_path: Path, prediction: SlidePrediction) -> None:
    path = tmp_path / "a.h5"
    write_slide_prediction(path, prediction)
    found = read_slide_prediction(path)
    for field in fields(SlidePrediction):
        there, given = getattr(found, field.name), getattr(prediction, field.name)
        if isinstance(given, np.ndarray):
            np.testing.assert_array_equal(there, given)
            assert there.dtype == given.dtype
        else:
            assert there == given
    again = tmp_path / "b.h5"
    write_slide_prediction(again, prediction)
    assert again.read_bytes() == path.read_bytes()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def _other_format(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "pathquorum-features/1"


def _list_of_numbers(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["classes"] = "[1, 2, 3]"


def _elsewhere(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["probability"]
        file["probability"] = h5py.ExternalLink("other.h5", "/probability")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (_cut, "cut short"),
    "other format": (_other_format, "format"),
    "classes": (_list_of_numbers, "no list of texts"),
    "elsewhere": (_elsewhere, "no probability"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.h5"
    write_slide_prediction(path, PREDICTION)
    spoil, said = DAMAGE[damage]
    spoil(path)
    with pytest.raises(TileError, match=said) as caught:
        read_slide_prediction(path)
    assert "a.h5" in str(caught.value)
    assert "pathquorum predict" in str(caught.value)


WRONG = {
    "tiles": replace(PREDICTION, entropy=values(TILES - 1)),
    "classes": replace(PREDICTION, classes=("Benign", "High")),
    "not finite": replace(PREDICTION, variance=np.full((TILES, CLASSES), np.nan, np.float32)),
    "no size": replace(PREDICTION, mpp=0.0),
    "kind": replace(PREDICTION, kind="guesses"),  # type: ignore[arg-type]
    "no weights": replace(PREDICTION, weights_sha256=()),
    "features": replace(PREDICTION, feature_sample=None),
    "sample": replace(PREDICTION, feature_sample=values(257, FEATURES)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "a.h5"
    write_slide_prediction(path, WRONG[wrong])
    with pytest.raises(TileError, match="can't be used"):
        read_slide_prediction(path)
