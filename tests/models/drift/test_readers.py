"""Readers who agree as before, and one who reads otherwise since a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from annotation.lookup import find_protocol
from annotation.store import Store
from annotation.tables import Slide
from consensus.monitoring.kappa_by_month import kappa_of
from consensus.ratings import Ratings
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate
from models.drift.readers import kappas_of, readers_of
from models.drift.selection import Asked
from models.drift.watch import compare_kappas, decide
from tests.conftest import CommandResult, feature, square

N_SLIDES = 14
CLASSES = ("Benign", "Low grade", "High grade")


@pytest.fixture
def reads(
    store: Store, study: Callable[..., CommandResult], write_export: Callable[..., Path]
) -> None:
    """Fourteen slides of as many patients, seven read in January and seven in March.

    Three readers label six squares each; from March on P3 calls every square by another class.
    """
    rng = np.random.default_rng(0)
    for month, day in ((0, "2026-01-10"), (1, "2026-03-10")):
        folders: dict[str, Path] = {}
        for number in range(month * 7, month * 7 + 7):
            slide = f"K{number:02}"
            added = study("slide", "add", slide, "--width", 1000, "--height", 800, "--mpp", 0.5,
                          "--patient", f"k{number}")  # fmt: skip
            assert added.status == 0, added.err
            truth = rng.integers(0, 3, 6)
            for rater in ("P1", "P2", "P3"):
                said = np.where(rng.random(6) < 0.15, (truth + 1) % 3, truth)
                if rater == "P3" and month == 1:
                    said = (truth + 1) % 3
                squares = [
                    feature(
                        square(20 + 150 * place, 20),
                        CLASSES[code],
                        properties={"name": f"{rater} {slide}"},
                    )
                    for place, code in enumerate(said.tolist())
                ]
                path = write_export(squares, f"{rater}-{month}", slide)
                folders[rater] = path.parent
        for rater, folder in folders.items():
            pulled = study("pull", folder, "--annotator", rater, "--protocol", "prostate",
                           "--read-date", day)  # fmt: skip
            assert pulled.status == 0, pulled.err


def on_slides(ratings: Ratings, slides: list[str]) -> Ratings:
    """The ratings of some slides."""
    assert ratings.slide is not None
    numbers = [ratings.slide_names.index(name) for name in slides]
    kept = np.isin(ratings.slide, numbers)
    return replace(
        ratings, items=tuple(np.array(ratings.items, dtype=object)[kept]),
        codes=ratings.codes[kept], weight=ratings.weight[kept], cluster=ratings.cluster[kept],
        slide=ratings.slide[kept], domain_um2=None,
    )  # fmt: skip


def rater_kappa(rated: StudyRatings, rater: int, others: tuple[int, ...]) -> float:
    """A rater's quadratic kappa with others: disagreement of all pairs added up before dividing."""
    codes, weight = rated.ratings.codes, rated.ratings.weight
    k = len(rated.ratings.classes)
    cost = np.ones((k, k)) - np.eye(k)
    cost[:3, :3] = np.subtract.outer(np.arange(3), np.arange(3)) ** 2 / 4
    observed = expected = 0.0
    for other in others:
        table = np.zeros((k, k))
        np.add.at(table, (codes[:, rater], codes[:, other]), weight)
        observed += (table * cost).sum()
        expected += (np.outer(table.sum(axis=1), table.sum(axis=0)) * cost).sum() / table.sum()
    return float(1 - observed / expected)


def test_a_reader_who_reads_otherwise_is_an_alarm(reads: None, store: Store) -> None:
    """From March on P3's kappa falls and theirs with P3; P1 and P2 agree with each other as before."""
    with store.reading() as session:
        row = find_protocol(session, "prostate")
        rated = rate(session, row, wanted=Wanted(geometry=False))
        readers = readers_of(session, row, date(2026, 2, 1))
    found = compare_kappas(readers, Asked(predictions="", permutations=999))
    decide([found], 0.01)
    of = {one.key: one for one in found}
    assert of["kappa:rater:P3"].alarm
    assert of["kappa"].facts["patients"] == {"reference": 7, "current": 7}
    # Figures are those that `agreement` gives for the same slides.
    slides = [f"K{number:02}" for number in range(N_SLIDES)]
    for side, names in (("reference", slides[:7]), ("current", slides[7:])):
        oracle = kappa_of(on_slides(rated.ratings, names), "quadratic")
        assert of["kappa"].facts[side] == pytest.approx(oracle["overall"]["value"])
        for name in CLASSES:
            value = oracle["per_class"][name]["value"]
            assert of[f"kappa:class:{name}"].facts[side] == pytest.approx(value)
    of_p3 = of["kappa:rater:P3"].facts
    assert of_p3["current"] < of_p3["reference"] - 0.1
    kappas, names, _ = kappas_of(rated)
    assert names == slides
    both = dict(zip(kappas.keys, kappas.of_slides(list(range(N_SLIDES))), strict=True))
    assert both["kappa:rater:P3"] == pytest.approx(rater_kappa(rated, 2, (0, 1)))
    assert [one["month"] for one in readers.by_month] == ["2026-01", "2026-03"]
    assert readers.by_month[0]["kappa"]["kappa"] == pytest.approx(of["kappa"].facts["reference"])


def test_a_patient_on_both_sides_and_few_patients_are_told(reads: None, store: Store) -> None:
    """Who was read before and after is left out and named; five patients a side are needed."""
    with store.writing() as session:
        late = session.scalars(select(Slide).where(Slide.name.in_(["K12", "K13"]))).all()
        early = session.scalars(select(Slide).where(Slide.name == "K00")).one()
        for slide in late:
            slide.patient_id = early.patient_id
        row = find_protocol(session, "prostate")
        readers = readers_of(session, row, date(2026, 2, 1))
        assert readers.notes == [
            "1 patient read before and since 2026-02-01 left out of the readers' kappas"
        ]
        found = compare_kappas(readers, Asked(predictions=""))
        assert found[0].facts["patients"] == {"reference": 6, "current": 5}
        assert found[0].status == "ok"
        nobody = compare_kappas(readers_of(session, row, date(2026, 4, 1)), Asked(predictions=""))
    assert {one.status for one in nobody} == {"undefined: 0 patients now"}
    decide([nobody], 0.01)
    assert not any(one.alarm for one in nobody)


def test_without_reads_there_are_no_kappas(store: Store, study: Callable[..., object]) -> None:
    """Nothing rated is a note."""
    with store.reading() as session:
        readers = readers_of(session, find_protocol(session, "prostate"), date(2026, 2, 1))
    assert readers.kappas is None
    assert compare_kappas(readers, Asked(predictions="")) == []
    assert readers.notes[0].startswith("no kappa of readers: no read counts under protocol")
