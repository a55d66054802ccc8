"""Features of patients from those of their slides, and how many of them enter a kernel."""

from __future__ import annotations

import numpy as np
import pytest

from models.drift.embeddings import MOST_PATIENTS, MOST_TILES, embeddings_of, tiles_of_each
from models.drift.files import FromFiles


def files(means: list[np.ndarray | None], n_tiles: int = 6) -> FromFiles:
    """Slides whose tiles are all their mean."""
    samples = [None if mean is None else np.tile(mean, (n_tiles, 1)) for mean in means]
    return FromFiles(means, samples, np.full(len(means), np.nan))  # type: ignore[arg-type]


def test_a_patient_is_the_mean_of_their_slides_and_some_tiles_of_each() -> None:
    """Two slides of one patient count as one, with tiles of both; a slide without features is none."""
    slides = [np.array([x, 1.0], np.float32) for x in (1.0, 3.0, 5.0)]
    found = embeddings_of(files([*slides, None]), np.array([0, 0, 2, 1]), 4, seed=0)
    assert found is not None
    assert found.has.tolist() == [True, False, True, False]
    assert found.means.tolist() == [[2, 1], [5, 1]]
    assert {row[0] for row in found.tiles[0].tolist()} == {1, 3}
    assert len(found.tiles[0]) == 12
    assert embeddings_of(files([None, None]), np.array([0, 1]), 2, seed=0) is None


def test_kernels_stay_bounded() -> None:
    """Of many patients 2,000 are drawn, by the seed; and no more than 4,096 tiles, one of each at least."""
    for n in (1, 10, 1000, 2000, 100_000):
        assert 1 <= tiles_of_each(n) * min(n, MOST_PATIENTS) <= MOST_TILES
    n = MOST_PATIENTS + 300
    many = files(list(np.arange(2.0 * n).reshape(n, 2).astype(np.float32)))
    drawn, again, other = (embeddings_of(many, np.arange(n), n, seed) for seed in (1, 1, 2))
    assert drawn is not None
    assert again is not None
    assert other is not None
    assert int(drawn.has.sum()) == len(drawn.means) == MOST_PATIENTS
    assert sum(map(len, drawn.tiles)) <= MOST_TILES
    assert (drawn.has == again.has).all()
    assert (drawn.has != other.has).any()


def test_the_stability_index_looks_along_the_references_components() -> None:
    """A shift along the axis of the reference's largest spread is major there and nowhere else."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(150, 4)) * (5.0, 1.0, 0.5, 0.1)
    current = np.arange(150) >= 100
    points[current, 0] += 10
    found = embeddings_of(files(list(points.astype(np.float32))), np.arange(150), 150, seed=0)
    assert found is not None
    psi = [one.psi for one in found.stabilities(current)]
    assert len(psi) == 4
    assert psi[0] > 1 > 0.7 > max(psi[1:])
    distances = found.distances()
    assert distances["feature_means"](current[None].astype(np.float64))[0] == pytest.approx(
        distances["feature_tiles"](current[None].astype(np.float64))[0], rel=0.2
    )
