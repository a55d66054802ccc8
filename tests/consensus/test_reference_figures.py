"""Every agreement figure that is printed somewhere about the public tables, to its digits."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from consensus.agreement import Agreement, agreement
from consensus.fusion import majority
from consensus.ratings import Ratings
from tests.consensus.builders import (
    counts_csv,
    from_contingency,
    from_distribution,
    from_matrix,
    from_raw_csv,
    read_rows,
)

ALL_WEIGHTS = ("nominal", "linear", "quadratic")


@pytest.fixture(scope="module")
def raters(shared_data: Path) -> Path:
    return shared_data / "raters"


@pytest.fixture(scope="module")
def carcinoma(raters: Path) -> Ratings:
    return from_raw_csv(raters / "carcinoma_landis.csv")


def values(found: Agreement, *names: str) -> list[float | None]:
    return [found.coefficients[name].value for name in names]


def test_carcinoma_of_two_pathologists_with_the_two_worst_grades_merged(raters: Path) -> None:
    header, rows = read_rows(raters / "carcinoma_landis.csv")
    merged = [["4" if cell == "5" else cell for cell in row[:2]] for row in rows]
    found = agreement(from_matrix(merged, header[:2]), weights="nominal")
    assert values(found, "percent", "cohen_mean") == pytest.approx([0.63559, 0.49301], abs=5e-6)


def test_carcinoma_fleiss_overall_and_per_grade(carcinoma: Ratings) -> None:
    found = agreement(carcinoma, weights="nominal")
    assert found.coefficients["fleiss"].value == pytest.approx(0.3543, abs=5e-5)
    per_grade = [found.per_class[grade]["fleiss"].value for grade in "12345"]
    assert per_grade == pytest.approx([0.5585, 0.1529, 0.3640, 0.1740, 0.6264], abs=5e-5)


@pytest.mark.parametrize(
    ("weights", "expected"), list(zip(ALL_WEIGHTS, (0.3661, 0.5228, 0.6572), strict=True))
)
def test_carcinoma_mean_pairwise_kappa(carcinoma: Ratings, weights: str, expected: float) -> None:
    found = agreement(carcinoma, weights=weights)
    assert found.coefficients["cohen_mean"].value == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("nominal", [0.5631, 0.1598, 0.3737, 0.1803, 0.6268]),
        ("linear", [0.6765, 0.2314, 0.5121, 0.4281, 0.7446]),
        ("quadratic", [0.7502, 0.3514, 0.6250, 0.5972, 0.7996]),
    ],
)
def test_carcinoma_per_class_kappa(carcinoma: Ratings, weights: str, expected: list[float]) -> None:
    found = agreement(carcinoma, weights=weights)
    per_grade = [found.per_class[grade]["kappa"].value for grade in "12345"]
    assert per_grade == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("weights", "expected"), list(zip(ALL_WEIGHTS, (0.4984, 0.6492, 0.7786), strict=True))
)
def test_carcinoma_of_the_first_pair(carcinoma: Ratings, weights: str, expected: float) -> None:
    pair = agreement(carcinoma, weights=weights).pairs[0]
    assert (pair.a, pair.b, pair.items) == ("A", "B", 118)
    assert pair.kappa.value == pytest.approx(expected, abs=5e-5)


def test_irr_diagnoses_fleiss_overall_and_per_category(raters: Path) -> None:
    found = agreement(from_raw_csv(raters / "irr" / "diagnoses.csv"), weights="nominal")
    assert found.coefficients["fleiss"].value == pytest.approx(0.43024, abs=5e-6)
    per_category = {name[3:]: entry["fleiss"].value for name, entry in found.per_class.items()}
    assert per_category == pytest.approx(
        {
            "Depression": 0.2448,
            "Personality Disorder": 0.2448,
            "Schizophrenia": 0.5200,
            "Neurosis": 0.4711,
            "Other": 0.5661,
        },
        abs=5e-5,
    )


def test_irr_diagnoses_conger_follows_the_exact_formula_of_irr(raters: Path) -> None:
    """``kappam.fleiss(exact=TRUE)``: Fleiss' chance less the raters' variance / (n_raters - 1).

    0.44181, which irr's Python port pyirr also prints for this table (0.442). The 0.43112 noted
    beside the data comes from no divisor of that variance that irr has (n_raters gives 0.43991,
    the unbiased variance 0.44407), nor from any subset of the raters or any one item left out.
    """
    ratings = from_raw_csv(raters / "irr" / "diagnoses.csv")
    codes, n_raters = ratings.codes, len(ratings.raters)
    said = (codes[:, :, None] == np.arange(5)).astype(float)
    counts, margins = said.sum(axis=1), said.mean(axis=0)
    agree = ((counts**2).sum(axis=1) - n_raters).mean() / (n_raters * (n_raters - 1))
    chance = (counts.mean(axis=0) / n_raters) @ (counts.mean(axis=0) / n_raters)
    chance -= margins.var(axis=0).sum() / (n_raters - 1)
    found = agreement(ratings, weights="nominal").coefficients["conger"].value
    assert found == pytest.approx((agree - chance) / (1 - chance), abs=1e-12)
    assert found == pytest.approx(0.442, abs=5e-4)


@pytest.mark.parametrize(
    ("weights", "expected"), list(zip(ALL_WEIGHTS, (0.11950, 0.18919, 0.29677), strict=True))
)
def test_irr_anxiety_of_the_first_two_raters(raters: Path, weights: str, expected: float) -> None:
    header, rows = read_rows(raters / "irr" / "anxiety.csv")
    found = agreement(from_matrix([row[:2] for row in rows], header[:2]), weights=weights)
    assert found.coefficients["cohen_mean"].value == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("weights", "expected"), list(zip(ALL_WEIGHTS, (0.59539, 0.65238, 0.70233), strict=True))
)
def test_irr_vision_with_its_grades_in_order(raters: Path, weights: str, expected: float) -> None:
    grades = ["1st grade", "2nd grade", "3rd grade", "4th Grade"]
    found = agreement(from_raw_csv(raters / "irr" / "vision.csv", classes=grades), weights=weights)
    assert found.coefficients["cohen_mean"].value == pytest.approx(expected, abs=5e-6)


def test_textbook_fleiss_2003_values_and_standard_errors(raters: Path) -> None:
    header, counts = counts_csv(raters / "textbook" / "fleiss2003_table18_8_counts.csv")
    found = agreement(from_distribution(counts, header), weights="nominal")
    overall = found.coefficients["fleiss"]
    assert overall.value == pytest.approx(0.42, abs=5e-3)
    assert overall.extra["se_null"] == pytest.approx(0.072, abs=5e-4)
    per_class = [found.per_class[name]["fleiss"] for name in "ABC"]
    assert [one.value for one in per_class] == pytest.approx([0.29, 0.67, 0.35], abs=5e-3)
    assert [one.extra["se_null"] for one in per_class] == pytest.approx([0.1] * 3, abs=5e-5)


def test_textbook_fleiss_cohen_everitt_1969_kappa_and_variance(raters: Path) -> None:
    header, counts = counts_csv(
        raters / "textbook" / "fce1969_table1_counts_R1rows_R2cols.csv", first_column=1
    )
    kappa = agreement(from_contingency(counts, header), weights="nominal").pairs[0].kappa
    assert kappa.value == pytest.approx(0.429, abs=5e-4)
    assert kappa.se is not None
    assert kappa.se**2 == pytest.approx(0.002885, abs=5e-7)


MITOTIC_FDA = {
    "microscope": 0.5485,
    "scanner.A": 0.4820,
    "scanner.B": 0.5806,
    "scanner.C": 0.5807,
    "scanner.D": 0.5467,
}


@pytest.mark.parametrize(("modality", "expected"), MITOTIC_FDA.items())
def test_mitotic_fda_fleiss_of_each_modality(raters: Path, modality: str, expected: float) -> None:
    with (raters / "mitotic_fda" / "dfClassify20180627.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["modalityID"] == modality]
    observers = [f"observer.{number}" for number in range(1, 6)]
    ratings = from_matrix([[row[name] for name in observers] for row in rows], observers)
    found = agreement(ratings, weights="nominal")
    assert found.items == 155
    assert found.coefficients["fleiss"].value == pytest.approx(expected, abs=5e-5)


def test_midogpp_majority_is_the_published_category_in_every_case(raters: Path) -> None:
    with gzip.open(raters / "midogpp" / "MIDOGpp.json.gz") as stream:
        boxes = json.load(stream)["annotations"]
    votes = [
        (box["id"], f"vote {place}", label)
        for box in boxes
        for place, label in enumerate(box["labels"])
    ]
    fused = majority(Ratings.from_table(*map(list, zip(*votes, strict=True))))
    category = {str(box["id"]): str(box["category_id"]) for box in boxes}
    label = {
        item: None if index < 0 else fused.classes[index]
        for item, index in zip(fused.items, fused.labels, strict=True)
    }
    assert len(label) == 26_286
    assert label == category
    assert sum(name == "1" for name in label.values()) == 11_937
