"""Whether the readers agree as they did: kappa of each class and rater, before and after a day.

Shapes: B groups of patients, P patients, J kappas, K classes, R pairs of raters.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.errors import PathquorumError
from annotation.tables import ProtocolVersion
from annotation.terminal import counted
from consensus.monitoring.kappa_by_month import last_reads
from consensus.ratings import NOT_RATED
from consensus.statistics.coefficients import pair_tables, quotient
from consensus.statistics.patterns import compress
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts
from consensus.statistics.weights import disagreement_weights
from consensus.study.counted_reads import counted_reads, pulled_reads
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate

__all__ = ["Kappas", "Readers", "kappas_of", "readers_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kappas:
    """The kappas among the readers of some slides: of all, of each class, of each rater.

    Attributes
    ----------
    keys, titles
        Of the J kappas.
    patients
        Names of the P patients.
    """

    keys: tuple[str, ...]
    titles: tuple[str, ...]
    patients: tuple[str, ...]
    _scheme: Scheme
    _chosen: Floats  # (J, R * K): which cells of which pairs' tables a kappa is of
    _rows: Floats  # (n_slides, width)
    _patient: NDArray[np.int64]  # (n_slides,)

    def of_slides(self, slides: list[int]) -> Floats:
        """Kappas on these slides, (J,); NaN where one is undefined."""
        kappas: Floats = self._of(self._rows[slides].sum(axis=0, keepdims=True))[0]
        return kappas

    def of_patients(self, included: Floats) -> Floats:
        """Kappas on the slides of some patients, (B, J).

        Parameters
        ----------
        included : shape (B, P)
            Who they are, 0 or 1.
        """
        return self._of(included @ self._by_patient())

    def held_by(self) -> NDArray[np.bool_]:
        """Whether two raters of each patient's slides have said anything that counts, (P, J)."""
        totals = Totals(self._scheme, self._by_patient())
        named = totals["first"] + totals["second"]
        held: NDArray[np.bool_] = named.reshape(len(named), -1) @ self._chosen.T > 0
        return held

    def _by_patient(self) -> Floats:
        summed = np.zeros((len(self.patients), self._rows.shape[1]))
        np.add.at(summed, self._patient, self._rows)
        return summed

    def _of(self, rows: Floats) -> Floats:
        tables = pair_tables(Totals(self._scheme, rows))
        observed, expected = (
            cells.reshape(len(rows), -1) @ self._chosen.T
            for cells in (tables.observed, tables.expected)
        )
        return 1 - quotient(observed, expected)


@dataclass(frozen=True, eq=False)
class Readers:
    """The readers of a protocol around a day.

    Attributes
    ----------
    kappas
        None where nothing is rated.
    current : shape (P,)
        Whether a patient was read from that day on.
    used : shape (P,)
        Whether a patient was read on one side of it only.
    by_month
        ``month``, ``slides``, and under ``kappa`` one or None for each key.
    """

    since: date
    kappas: Kappas | None
    current: NDArray[np.bool_]
    used: NDArray[np.bool_]
    by_month: list[dict[str, Any]]
    notes: list[str]


def readers_of(session: Session, row: ProtocolVersion, since: date) -> Readers:
    """The kappas of a protocol version's readers, to be held apart at a day, and month by month.

    A slide belongs to the day of its last read, as in `status`. Patients with slides on both sides
    of the day are left out of the comparison.
    """
    try:
        rated = rate(session, row, wanted=Wanted(geometry=False))
    except PathquorumError as error:
        nobody = np.zeros(0, dtype=bool)
        return Readers(since, None, nobody, nobody, [], [f"no kappa of readers: {error}"])
    last_read = last_reads(pulled_reads(session, row.id), counted_reads(session, row)[0])
    kappas, slides, patient = kappas_of(rated)
    days = [last_read[name] for name in slides]
    n_slides = np.bincount(patient, minlength=len(kappas.patients))
    late = np.array([day >= since for day in days], dtype=np.float64)
    n_late = np.bincount(patient, weights=late, minlength=len(kappas.patients))
    both = (n_late > 0) & (n_late < n_slides)
    notes = []
    if both.any():
        notes.append(
            f"{counted(int(both.sum()), 'patient')} read before and since {since} left out of the "
            "readers' kappas"
        )
    return Readers(since, kappas, n_late > 0, ~both, _by_month(kappas, days), notes)


def kappas_of(rated: StudyRatings) -> tuple[Kappas, list[str], NDArray[np.int64]]:
    """The kappas of ratings, the names of the slides rated, and the number of each one's patient."""
    ratings = rated.ratings
    assert ratings.slide is not None  # noqa: S101 - ratings of a store have slides
    disagreement = disagreement_weights(rated.protocol.weights, ratings.classes, ratings.rank)
    scheme = Scheme.of(ratings, disagreement)
    patterns = compress(ratings.codes, scheme.n_classes)
    is_rated = (patterns.codes != NOT_RATED).any(axis=1)[patterns.of_item]
    weighted = patterns.by_group(ratings.slide, np.where(is_rated, ratings.weight, 0.0))
    features = item_features(scheme, rater_counts(patterns.codes, scheme.n_classes))
    cluster = np.zeros(len(ratings.slide_names), dtype=np.int64)
    cluster[ratings.slide] = ratings.cluster
    codes, patient = np.unique(cluster[weighted.groups], return_inverse=True)
    kinds = _kinds(rated, scheme)
    kappas = Kappas(
        tuple(key for key, _, _ in kinds),
        tuple(title for _, title, _ in kinds),
        tuple(ratings.cluster_names[code] for code in codes.tolist()),
        scheme,
        np.stack([cells.reshape(-1) for _, _, cells in kinds]),
        group_totals(scheme, weighted, features),
        patient.reshape(-1),
    )
    names = [ratings.slide_names[number] for number in weighted.groups.tolist()]
    return kappas, names, patient.reshape(-1)


def _kinds(rated: StudyRatings, scheme: Scheme) -> list[tuple[str, str, Floats]]:
    """Key, title and cells (R, K) of every kappa that the ratings have."""
    shape = len(scheme.pairs), scheme.n_classes
    found = [("kappa", "Kappa of all readers", np.ones(shape))]
    for code, name in enumerate(rated.ratings.classes):
        if scheme.places[code]:
            cells = np.broadcast_to(np.arange(scheme.n_classes) == code, shape).astype(np.float64)
            found.append((f"kappa:class:{name}", f"Kappa of {name}", cells))
    for code, name in enumerate(rated.ratings.raters):
        own = (scheme.pairs == code).any(axis=1)
        cells = np.broadcast_to(own[:, None], shape).astype(np.float64)
        found.append((f"kappa:rater:{name}", f"Kappa of {name} with the others", cells))
    return found


def _by_month(kappas: Kappas, days: list[date]) -> list[dict[str, Any]]:
    months: dict[str, list[int]] = defaultdict(list)
    for number, day in enumerate(days):
        months[day.strftime("%Y-%m")].append(number)
    return [
        {
            "month": month,
            "slides": len(slides),
            "kappa": {
                key: None if np.isnan(value) else value
                for key, value in zip(kappas.keys, kappas.of_slides(slides).tolist(), strict=True)
            },
        }
        for month, slides in sorted(months.items())
    ]
