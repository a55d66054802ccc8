"""Figures of masks: per class Dice, sensitivity and precision by area, and distances of outlines.

Shapes: h x w pixels of a tile, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.evaluation.draws import Evaluate, Figure, PatientDraws
from models.evaluation.figures import NO_ITEMS, Method
from models.evaluation.sums import ClassTables, weighted_mean
from models.evaluation.surfaces import surface_distances
from models.targets import OPEN

__all__ = ["JudgedMask", "mask_figures"]

Ints = NDArray[np.int64]

NEITHER = "neither mask holds it"
NO_OUTLINES = "no tile on which both masks hold it"


@dataclass(frozen=True, eq=False)
class JudgedMask:
    """What a model, or an expert, made of one tile.

    Attributes
    ----------
    found, wanted : shape (h, w)
        Class of each pixel; -1 in ``wanted`` where it is not known, and there nothing is judged.
    patient
        By any code.
    """

    found: Ints
    wanted: Ints
    patient: int


def mask_figures(
    masks: Iterable[JudgedMask], classes: tuple[str, ...], mpp: float, method: Method
) -> dict[str, dict[str, object]]:
    """Figures of each class over all tiles, with intervals over patients.

    Areas are added up before they are divided, so that a tile counts by what it holds. Distances
    are means over the tiles on which both masks hold the class; what is unknown is of neither.

    Parameters
    ----------
    masks
        Taken one by one.
    mpp
        Microns per pixel of the tiles.
    method
        Of the intervals; its weights play no part.

    Raises
    ------
    InputError
        A tile's masks are of different shapes.
    """
    n_classes = len(classes)
    cells: list[Ints] = []
    apart: list[NDArray[np.float64]] = []
    patient: list[int] = []
    for mask in masks:
        if mask.found.shape != mask.wanted.shape:
            raise InputError(
                f"masks of shapes {mask.found.shape} and {mask.wanted.shape}; give two of one shape"
            )
        known = mask.wanted != OPEN
        cell = mask.wanted[known] * n_classes + mask.found[known]
        cells.append(np.bincount(cell, minlength=n_classes**2))
        apart.append(_distances(mask, known, n_classes, mpp))
        patient.append(mask.patient)
    n_tiles = len(patient)
    draws = method.draws(np.array(patient, dtype=np.int64))
    amounts = np.array(cells, dtype=np.float64).reshape(n_tiles, n_classes, n_classes)
    away = np.array(apart).reshape(n_tiles, n_classes, 2)
    pairs = np.indices((n_classes, n_classes)).reshape(2, -1)
    of_cells = PatientDraws(draws.patient.repeat(n_classes**2), draws.n_patients, draws.often)
    tables = ClassTables(
        np.tile(pairs[0], n_tiles), np.tile(pairs[1], n_tiles), amounts.ravel(), of_cells, n_classes
    )
    document: dict[str, dict[str, object]] = {}
    for number, name in enumerate(classes):
        wanted, found = amounts[:, number].sum(axis=1), amounts[:, :, number].sum(axis=1)
        either = draws.count(wanted + found > 0)
        both = ~np.isnan(away[:, number, 0])
        figures = {
            "dice": Figure(_of_class(tables.f1, number), NEITHER, either),
            "sensitivity": Figure(
                _of_class(tables.sensitivity, number), NO_ITEMS, draws.count(wanted > 0)
            ),
            "precision": Figure(
                _of_class(tables.precision, number), "nothing was found", draws.count(found > 0)
            ),
        }
        for place, kind in enumerate(("surface_distance_um", "hausdorff_95_um")):
            values = np.where(both, away[:, number, place], 0.0)
            mean = weighted_mean(values, both.astype(np.float64), draws)
            figures[kind] = Figure(mean, NO_OUTLINES, draws.count(both))
        document[name] = {
            "area_um2": float(wanted.sum() * mpp**2),
            "tiles": int(both.sum()),
            **{kind: one.to_dict() for kind, one in draws.statistics(figures).items()},
        }
    return document


def _distances(
    mask: JudgedMask, known: NDArray[np.bool_], n_classes: int, mpp: float
) -> NDArray[np.float64]:
    """Average and 95 % Hausdorff distance of each class, (K, 2); NaN where there is none."""
    rows = np.full((n_classes, 2), np.nan)
    for number in range(n_classes):
        made = surface_distances(
            (mask.found == number) & known, (mask.wanted == number) & known, mpp
        )
        if made is not None:
            rows[number] = made.average_um, made.hausdorff_95_um
    return rows


def _of_class(evaluate: Evaluate, number: int) -> Evaluate:
    return lambda often: evaluate(often)[:, number]
