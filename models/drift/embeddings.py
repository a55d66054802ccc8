"""What an encoder makes of the slides, patient by patient, and how far two groups are apart in it.

Shapes: P patients, n of them with features, F features, m tiles of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.drift.distances import kernel_distance, kernel_of_points, kernel_of_samples
from models.drift.files import FromFiles
from models.drift.permutation import Distance
from models.drift.stability import Stability, stability_of_numbers

__all__ = ["MOST_PATIENTS", "MOST_TILES", "Embeddings", "embeddings_of", "tiles_of_each"]

Floats = NDArray[np.float64]

MOST_PATIENTS = 2_000
"""The kernel is quadratic in patients; of more, so many are drawn."""

MOST_TILES = 4_096
"""And quadratic in tiles; the patients share so many among them."""

_COMPONENTS = 5


def tiles_of_each(n_patients: int) -> int:
    """How many tiles of a patient enter the kernel of tiles."""
    return max(1, MOST_TILES // max(1, min(n_patients, MOST_PATIENTS)))


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The features of patients.

    Attributes
    ----------
    has : shape (P,)
        Who has features and was drawn.
    means : shape (n, F)
        Mean of each one's slides.
    tiles : length n, each (m, F)
        A few tiles of each.
    """

    has: NDArray[np.bool_]
    means: Floats
    tiles: list[Floats]

    def distances(self) -> dict[str, Distance]:
        """Of the patients' means, and of their tiles."""
        return {
            "feature_means": kernel_distance(kernel_of_points(self.means), self.has),
            "feature_tiles": kernel_distance(kernel_of_samples(self.tiles), self.has),
        }

    def stabilities(self, current: NDArray[np.bool_]) -> list[Stability]:
        """The stability index along each of the reference's first principal components.

        Parameters
        ----------
        current : shape (P,)
            Who is not of the reference.
        """
        inside = current[self.has]
        centred = self.means - self.means[~inside].mean(axis=0)
        axes = np.linalg.svd(centred[~inside], full_matrices=False)[2][:_COMPONENTS]
        along = centred @ axes.T  # [n, F] -> [n, components]
        found = [stability_of_numbers(one[~inside], one[inside]) for one in along.T]
        return [one for one in found if one is not None]


def embeddings_of(
    files: FromFiles, patient: NDArray[np.int64], n_patients: int, seed: int
) -> Embeddings | None:
    """The features of patients; None where the model sees pixels.

    Parameters
    ----------
    patient : shape (n_slides,)
        The number of each slide's patient.
    seed
        Decides who is drawn where there are too many.
    """
    slides: dict[int, list[int]] = {}
    for number, (of, mean) in enumerate(zip(patient.tolist(), files.means, strict=True)):
        if mean is not None:
            slides.setdefault(of, []).append(number)
    if not slides:
        return None
    drawn = np.sort(np.array(list(slides)))
    if len(drawn) > MOST_PATIENTS:
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(drawn, MOST_PATIENTS, replace=False))
    has = np.zeros(n_patients, dtype=bool)
    has[drawn] = True
    most = tiles_of_each(len(drawn))
    means, tiles = [], []
    for one in drawn.tolist():
        own = slides[one]
        of_slides = [mean for number in own if (mean := files.means[number]) is not None]
        means.append(np.mean(of_slides, axis=0, dtype=np.float64))
        samples = [sample for number in own if (sample := files.samples[number]) is not None]
        # Some of every slide, however many there are.
        shares = np.array_split(np.arange(max(most, len(own))), len(own))
        parts = [sample[: len(share)] for sample, share in zip(samples, shares, strict=True)]
        tiles.append(np.concatenate(parts).astype(np.float64))
    return Embeddings(has, np.array(means), tiles)
