"""Figures of masks: by scikit-learn, by hand, and with what is unknown left out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_score, recall_score

from annotation.errors import InputError
from models.evaluation.figures import Method
from models.evaluation.masks import JudgedMask, mask_figures
from models.evaluation.surfaces import surface_distances

METHOD = Method(1.0 - np.eye(3), "nominal", 200)
CLASSES = ("stroma", "tumour", "necrosis")


def tile(seed: int, height: int = 24, width: int = 30) -> NDArray[np.int64]:
    rows = np.random.default_rng(seed).integers(0, 3, (height // 6, width // 6))
    return rows.repeat(6, axis=0).repeat(6, axis=1)


def judged(n: int, n_patients: int) -> list[JudgedMask]:
    made = []
    for seed in range(n):
        wanted = tile(seed)
        found = np.where(
            np.random.default_rng(seed).random(wanted.shape) < 0.8, wanted, tile(seed + 99)
        )
        wanted[:, :3] = -1
        made.append(JudgedMask(found, wanted, seed % n_patients))
    return made


def test_areas_are_judged_like_scikit_learn_judges_pixels() -> None:
    """Dice, sensitivity and precision are those of all known pixels together."""
    masks = judged(12, 6)
    known = np.concatenate([m.wanted.ravel() for m in masks]) >= 0
    wanted = np.concatenate([m.wanted.ravel() for m in masks])[known]
    found = np.concatenate([m.found.ravel() for m in masks])[known]
    told = mask_figures(masks, CLASSES, 0.5, METHOD)
    for name, kind in (
        ("dice", f1_score),
        ("sensitivity", recall_score),
        ("precision", precision_score),
    ):
        expected = kind(wanted, found, average=None, labels=[0, 1, 2])
        assert [told[c][name]["value"] for c in CLASSES] == pytest.approx(expected)  # type: ignore[index]
    one = told["tumour"]["dice"]
    assert one["ci_low"] < one["value"] < one["ci_high"]  # type: ignore[index]
    assert told["stroma"]["area_um2"] == (wanted == 0).sum() * 0.25


def test_distances_are_means_over_tiles_that_hold_both() -> None:
    """Distances are averaged over the tiles on which both hold the class; others are left out."""
    masks = judged(5, 5)
    empty = np.zeros((24, 30), np.int64)
    masks.append(JudgedMask(empty, empty, 9))
    told = mask_figures(masks, CLASSES, 2.0, METHOD)
    each = [surface_distances((m.found == 1) & (m.wanted >= 0), m.wanted == 1, 2.0) for m in masks]
    present = [one for one in each if one is not None]
    assert told["tumour"]["tiles"] == len(present) == 5
    assert told["tumour"]["surface_distance_um"]["value"] == pytest.approx(  # type: ignore[index]
        np.mean([one.average_um for one in present])
    )
    assert told["tumour"]["hausdorff_95_um"]["value"] == pytest.approx(  # type: ignore[index]
        np.mean([one.hausdorff_95_um for one in present])
    )


def test_a_class_that_is_nowhere_is_undefined() -> None:
    """A class of neither mask has no Dice and no distance, and says why; no tile, no figure."""
    empty = np.zeros((8, 8), np.int64)
    told = mask_figures([JudgedMask(empty, empty, 0)], CLASSES, 0.5, METHOD)
    assert told["necrosis"]["dice"]["status"] == "undefined: neither mask holds it"  # type: ignore[index]
    assert told["necrosis"]["hausdorff_95_um"]["value"] is None  # type: ignore[index]
    assert told["stroma"]["dice"]["value"] == 1  # type: ignore[index]
    assert told["stroma"]["surface_distance_um"]["value"] == 0  # type: ignore[index]
    assert mask_figures([], CLASSES, 0.5, METHOD)["stroma"]["dice"]["value"] is None  # type: ignore[index]


def test_masks_of_two_shapes_are_refused() -> None:
    """A found mask of another shape than the wanted one is refused."""
    with pytest.raises(InputError, match="shapes"):
        mask_figures([JudgedMask(tile(0), tile(0, 30), 0)], CLASSES, 0.5, METHOD)
