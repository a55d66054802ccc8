"""Triage on drawn patients: whether its bound covers the truth, and which measure tells errors apart.

A patient has one to three slides and is easy or hard, so that slides of one fail together. A model
gives each slide 50 passes around a logit that leans towards the truth. One slide in ten is of a kind
that the model does not know: its passes lie on the wrong side as often as not, and far apart. The
population is finite and studies are drawn from it with replacement, so that what a threshold does is
known without error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.errors import RefusedError
from models.prediction.uncertainty import spread_of
from models.triage.coverage_risk import coverage_risk
from models.triage.threshold import Aim, Labelled, fit_threshold

__all__ = ["DrawnStudy", "drawn_study", "run"]

Floats = NDArray[np.float64]

N_POPULATION, N_PASSES, MOST_SLIDES = 20_000, 50, 3
AIM_AT, CONFIDENCE = 0.95, 0.95
N_STUDIES = 200


@dataclass(frozen=True, eq=False)
class Population:
    """Slides of 20,000 patients; the first half of the patients has the disease.

    ``first`` (patients + 1,) says where the slides of each begin.
    """

    first: NDArray[np.int64]
    positive: NDArray[np.bool_]
    called: NDArray[np.bool_]
    measures: dict[str, Floats]
    caught_at: Floats


@dataclass(frozen=True, eq=False)
class DrawnStudy:
    """A study, its slides' measures, and what is true of the population that it was drawn from."""

    labelled: Labelled
    wrong: NDArray[np.bool_]
    measures: dict[str, Floats]
    caught_at: Floats

    def true_sensitivity(self, threshold: float) -> float:
        """Share of the population's patients with the disease who are caught at a threshold."""
        return float((self.caught_at >= threshold).mean())


@lru_cache(maxsize=1)
def population() -> Population:
    """The same each time."""
    rng = np.random.default_rng(1)
    n_slides = rng.integers(1, MOST_SLIDES + 1, N_POPULATION)
    patient = np.repeat(np.arange(N_POPULATION), n_slides)
    positive = patient < N_POPULATION // 2
    ease = rng.normal(0, 0.6, N_POPULATION)[patient]
    sign = np.where(positive, 1.0, -1.0)
    unknown = rng.random(len(patient)) < 0.1
    centre = sign * (2.2 + ease + rng.normal(0, 1.0, len(patient)))
    centre = np.where(unknown, rng.normal(0, 1.5, len(patient)), centre)
    apart = np.where(unknown, 2.0, 0.4) * np.exp(rng.normal(0, 0.3, len(patient)))
    logit = centre + apart * rng.normal(size=(N_PASSES, len(patient)))
    p = 1 / (1 + np.exp(-logit))
    spread = spread_of(np.stack([1 - p, p], axis=-1))
    single = 1 / (1 + np.exp(-centre))  # without dropout
    measures = {
        "mutual-information": np.asarray(spread.mutual_information, dtype=np.float64),
        "max-softmax": 1 - np.maximum(single, 1 - single),
    }
    called = spread.mean[:, 1] > 0.5
    sick = np.flatnonzero(positive)
    least = np.full(N_POPULATION // 2, np.inf)
    value = np.where(called, np.inf, measures["mutual-information"])
    np.minimum.at(least, patient[sick], value[sick])
    first = np.concatenate([[0], np.cumsum(n_slides)])
    return Population(first, positive, called, measures, least)


def drawn_study(rng: np.random.Generator, with_disease: int, without: int) -> DrawnStudy:
    """So many patients of each kind; the measure is mutual information."""
    of = population()
    half = N_POPULATION // 2
    drawn = np.concatenate(
        [rng.integers(0, half, with_disease), rng.integers(half, N_POPULATION, without)]
    )
    slides = [np.arange(of.first[one], of.first[one + 1]) for one in drawn]
    unit_of = np.repeat(np.arange(len(drawn)), [len(own) for own in slides])
    slide = np.concatenate(slides)
    own = np.flatnonzero(of.positive[slide])
    value, called = of.measures["mutual-information"][slide], of.called[slide]
    labelled = Labelled(
        patients=tuple(f"p{number}" for number in range(len(drawn))),
        positive_of=unit_of[own],
        caught_at=np.where(called, np.inf, value)[own],
        escalated_at=value[own],
        called=called[own],
        unit_of=unit_of,
        uncertainty=value,
    )
    return DrawnStudy(
        labelled,
        called != of.positive[slide],
        {name: values[slide] for name, values in of.measures.items()},
        of.caught_at,
    )


def run(_folder: Path) -> None:
    """Print how often the bound is above the truth, what passes, and the areas under the curves."""
    print(
        f"\nTriage: a sensitivity of {AIM_AT:g} at {CONFIDENCE:.0%}, mutual information, "
        f"{N_STUDIES} drawn studies of each size"
    )
    print(f"  {'patients with the disease':28}{'bound above truth':>18}{'pass':>8}{'automatic':>11}"
          f"{'sensitivity':>13}")  # fmt: skip
    for with_disease in (120, 200, 400, 800):
        above, automatic, true = 0, [], []
        for seed in range(N_STUDIES):
            study = drawn_study(
                np.random.default_rng([seed, with_disease]), with_disease, with_disease
            )
            try:
                fitted = fit_threshold(study.labelled, Aim(AIM_AT, CONFIDENCE, seed))
            except RefusedError as error:
                above += float(str(error.lower)) > study.true_sensitivity(
                    float(str(error.threshold))
                )
                continue
            truth = study.true_sensitivity(fitted.threshold)
            above += fitted.sensitivity.lower > truth
            automatic.append(fitted.automatic_share)
            true.append(truth)
        shown = f"{np.mean(automatic):11.3f}{np.mean(true):13.4f}" if true else ""
        print(f"  {with_disease:<28}{above / N_STUDIES:18.3f}{len(true) / N_STUDIES:8.2f}{shown}")
    _print_areas()


def _print_areas() -> None:
    """One study of 400 patients, with intervals over patients."""
    study = drawn_study(np.random.default_rng(0), 200, 200)
    document = coverage_risk(
        study.measures, study.wrong, study.labelled.unit_of, bootstrap=1000, seed=0
    )
    print(f"\nArea under coverage against risk, {document['units']} slides of "
          f"{document['patients']} patients, {document['errors']} errors")  # fmt: skip
    for one in document["measures"]:
        area, apart = one["aurc"], one["difference"]
        told = f"{area['value']:.4f} ({area['ci_low']:.4f} to {area['ci_high']:.4f})"
        if apart is not None:
            told += f"; first minus this {apart['value']:.4f} ({apart['ci_low']:.4f} to {apart['ci_high']:.4f})"
        print(f"  {one['measure']:20} {told}")
