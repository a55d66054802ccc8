"""What the report says of objects, of the run's raters and method, and of the queue's places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.reporting.disputes import MOST_DISPUTES_LISTED
from consensus.reporting.numbers import number_text, percent_text
from consensus.reporting.quality import quality_section
from consensus.reporting.sensitivity import COLUMNS, sensitivity_section
from tests.conftest import CommandResult, feature, square
from tests.consensus.report_page import Page

Study = Callable[..., CommandResult]
Draw = Callable[..., None]

RATERS = ("P1", "P2", "P3")

OBJECTS = """
name = "cells"
version = "1"
task = "objects"
[[classes]]
name = "Mitotic"
[[classes]]
name = "Mimic"
"""


@pytest.fixture
def draw(study: Study, write_export: Callable[..., Path]) -> Draw:
    """Pulls what each of the raters drew on a slide: a list of features a rater."""

    def draw(protocol: str, *drawn: list[dict[str, Any]], slide: str = "S1") -> None:
        for handle, features in zip(RATERS, drawn, strict=True):
            path = write_export(features, handle, slide)
            told = ("--annotator", handle, "--protocol", protocol, "--accept-copy")
            result = study("pull", path, *told)
            assert result.status == 0, result.err

    return draw


@pytest.fixture
def regions(study: Study, draw: Draw) -> Study:
    """Five patients, on whose slides the third rater errs more and more."""
    for number in range(1, 6):
        slide = f"N{number}"
        size = ("--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", slide)
        assert study("slide", "add", slide, *size).status == 0
        truth = [feature(square(200 * x, 0, 150), "Benign") for x in range(3)]
        truth.append(feature(square(0, 300, 150), "High grade"))
        erring = [
            feature(square(200 * x, 0, 150), "Low grade" if x < number - 2 else "Benign")
            for x in range(3)
        ]
        draw("prostate", truth, truth[1:], erring, slide=slide)
    return study


def page_of(study: Study, folder: Path, *more: object) -> Page:
    path = folder / "r.html"
    result = study("report", "--to", path, *more)
    assert result.status == 0, result.err
    return Page(path.read_text(encoding="utf-8"))


def document(study: Study, *arguments: object) -> dict[str, Any]:
    result = study(*arguments, "--json")
    assert result.status == 0, result.err
    return dict(result.json)


def test_objects_are_told_by_finding_and_by_naming(
    study: Study, draw: Draw, tmp_path: Path
) -> None:
    """F1 of groups and of pairs, kappa on what both found, specific agreement, the matching's gap
    and both ladders stand as `agreement --thresholds` gives them."""
    protocol = tmp_path / "cells.toml"
    protocol.write_text(OBJECTS, encoding="utf-8")
    assert study("protocol", "add", protocol).status == 0

    def cells(shift: float, *names: str) -> list[dict[str, Any]]:
        boxes = [feature(square(100 * n + shift, 0, 30), name) for n, name in enumerate(names)]
        point = {"type": "Point", "coordinates": [500 + 4 * shift, 500]}
        return [*boxes, feature(point, "Mitotic")]

    draw(
        "cells",
        cells(0, "Mitotic", "Mimic", "Mitotic"),
        cells(3, "Mitotic", "Mitotic"),
        cells(9, "Mimic", "Mimic", "Mitotic"),
    )
    document(study, "consensus", "run", "--protocol", "cells")
    told = document(study, "agreement", "--protocol", "cells", "--thresholds")
    found = told["detection"]
    page = page_of(study, tmp_path)
    rows = {row[0]: row[1:] for row in page.rows("detection")}
    assert rows["F1 of the groups"][0] == number_text(found["f1"]["value"])
    strict = rows["F1 of pairs that keep to the threshold"]
    assert strict == [number_text(found["f1_strict"]["value"]), "undefined: 1 clusters"]
    assert rows["Kappa on what both found"][0] == number_text(found["kappa_found"]["value"])
    assert rows["Found by both, pairs of objects"][0] == str(found["found_by_both"])
    assert rows["Gap of the matching, at most"][0] == percent_text(told["matching"]["gap"])
    assert page.rows("specific") == [
        [name, percent_text(one["value"])] for name, one in found["specific"].items()
    ]
    for number, varied in enumerate(("iou", "distance_um"), start=1):
        rungs = [rung for rung in found["thresholds"] if rung["varied"] == varied]
        shown = page.rows("ladder", number=number)
        assert [row[1] for row in shown] == [str(rung["found_by_both"]) for rung in rungs]
        assert [row[2] for row in shown] == [number_text(rung["f1"]["value"]) for rung in rungs]
        assert sum("(protocol)" in row[0] for row in shown) == 1
        assert len({row[2] for row in shown}) > 1
    pairs = [number_text(pair["f1_strict"]["value"]) for pair in found["pairs"]]
    assert [row[-1] for row in page.rows("pairs")] == pairs


def test_regions_have_no_figures_of_objects(regions: Study, tmp_path: Path) -> None:
    """Outlines of regions are not found or missed one by one, and nothing is said of it."""
    document(regions, "consensus", "run", "--protocol", "prostate")
    assert "detection-caption" not in page_of(regions, tmp_path).tables


def test_raters_stand_with_what_their_figures_were_taken_over(
    regions: Study, tmp_path: Path
) -> None:
    """Sensitivity, specificity, their intervals and domains are those of `consensus show`."""
    document(regions, "consensus", "run", "--protocol", "prostate")
    told = document(regions, "consensus", "show", 1)
    page = page_of(regions, tmp_path)
    rows = page.rows("quality")
    classes = ["Benign", "Low grade", "High grade", "background"]
    assert [row[0] for row in rows] == [
        text
        for rater in RATERS
        for text in (f"{rater} (rated {told['raters_quality'][rater]['domain_um2'] / 1e6:.4f} mm²)",
                     *classes)
    ]  # fmt: skip
    third = told["raters_quality"]["P3"]
    benign = next(row for row in rows[11:] if row[0] == "Benign")
    assert 0 < third["sensitivity"]["Benign"] < 1
    interval = third["sensitivity_ci"]["Benign"]
    low, high = percent_text(interval["ci_low"]), percent_text(interval["ci_high"])
    assert benign[1:3] == [
        percent_text(third["sensitivity"]["Benign"]),
        f"{low.removesuffix(' %')} to {high} †",
    ]
    assert benign[3] == f"{third['sensitivity_over']['Benign'] / 1e6:.4f}"
    assert benign[4] == percent_text(third["specificity"]["Benign"])
    assert benign[-1] == f"{third['specificity_over']['Benign'] / 1e6:.4f}"
    low_grade = next(row for row in rows if row[0] == "Low grade")
    assert low_grade[1].startswith("undefined: ")
    assert page.text.count("† few clusters: the interval rests on fewer than 20 patients") == 2


def test_a_run_of_an_earlier_version_has_no_such_table() -> None:
    """Before runs held intervals they held neither their basis nor their domains."""
    summary = {"weight_unit": "um2", "raters_quality": {"P1": {"sensitivity": {"A": 1.0}}}}
    assert quality_section(summary, ["A"]) is None


def test_each_method_and_each_rater_left_out_stands_with_what_it_moves(
    regions: Study, tmp_path: Path
) -> None:
    """The table is that of `consensus sensitivity`, with changes as shares of the base."""
    document(regions, "consensus", "run", "--protocol", "prostate")
    told = document(regions, "consensus", "sensitivity", "--protocol", "prostate")
    page = page_of(regions, tmp_path)
    rows = page.rows("sensitivity", number=1)
    assert [row[0].removesuffix(", not converged") for row in rows] == [
        "majority (base)",
        "majority by role",
        "majority by agreement",
        "Dawid-Skene",
        "STAPLE",
        *(f"without {rater}" for rater in RATERS),
    ]
    by_role = next(one for one in told["variants"] if one["variant"] == "majority by role")
    assert rows[1][1:] == [by_role["status"].partition(";")[0]]
    assert rows[1][1].startswith("refused: protocol prostate@1 states no")
    for row, variant in zip(rows, told["variants"], strict=True):
        if variant["status"] == "ok" and variant is not told["variants"][0]:
            assert row[-1] == percent_text(variant["changed"]["share"])
            assert row[0].endswith("not converged") == (variant["converged"] is False)
    base, without = told["variants"][0]["classes"]["Benign"], told["variants"][-1]
    shown = rows[-1][1]
    after = without["classes"]["Benign"]["weight"]
    assert shown.startswith(f"{after / 1e6:.4f}")
    assert shown.endswith(percent_text(abs(after - base["weight"]) / base["weight"]))
    assert after != base["weight"]


def variant(name: str, weights: dict[str, float], opened: float, **more: Any) -> dict[str, Any]:
    return {
        "variant": name,
        "method": "staple",
        "votes": None,
        "left_out": None,
        "status": "ok",
        "classes": {one: {"items": 1, "weight": weight} for one, weight in weights.items()},
        "open": {"items": 0, "weight": opened},
        "changed": {"items": 0, "weight": 0.0, "share": 0.25},
        "converged": True,
        "notes": [],
        **more,
    }


def test_changes_are_signed_and_many_classes_go_into_further_tables() -> None:
    """What is new, what is the same, what fell and rose; columns that paper can hold; and a
    method that did not come to its end says so."""
    names = [f"c{number}" for number in range(COLUMNS + 2)]
    before = dict.fromkeys(names, 10.0) | {"c0": 0.0}
    after = before | {"c0": 2.0, "c2": 12.0, "c3": 4.0, "c4": 10.001}
    moved = variant("majority", after, 3.0, method="majority", votes="role", converged=False)
    section = sensitivity_section(
        {
            "base": "staple",
            "weight": 100.0,
            "weight_unit": "count",
            "classes": names,
            "variants": [variant("staple", before, 0.0), moved],
        }
    )
    assert section.base == "STAPLE"
    assert section.unit is None
    columns = [column for table in section.tables for column in table.columns]
    assert columns == [*names, "open"]
    assert max(len(table.columns) for table in section.tables) <= COLUMNS
    base, other = ([table.rows[row] for table in section.tables] for row in (0, 1))
    assert all(cell.moved == "" for row in base for cell in row.cells)
    assert [cell.moved for row in other for cell in row.cells][:5] == [
        "new",
        "same",
        "+20.0 %",
        "−60.0 %",
        "<+0.1 %",
    ]
    assert [(row.name, row.converged) for row in other] == [("majority by role", False)] * 2
    assert [row.changed for row in other] == ["25.0 %"] * 2


def test_expectation_maximisation_says_how_it_ended(regions: Study, tmp_path: Path) -> None:
    """Iterations, convergence and likelihood, and of several starts each with the kept one."""
    run = ("consensus", "run", "--protocol", "prostate", "--method", "dawid-skene")
    ended = document(regions, *run, "--starts", 3)["convergence"]
    page = page_of(regions, tmp_path)
    text = " ".join(page.text.split())
    how = "converged" if ended["converged"] else "not converged"
    likelihood = f"{ended['log_likelihood']:,.2f}".replace("-", "−")
    assert f"{ended['iterations']:,} iterations, {how}; log-likelihood {likelihood}" in text
    rows = page.rows("starts")
    assert len(rows) == 3
    assert [row[2] for row in rows] == [str(start["iterations"]) for start in ended["starts"]]
    kept = [start["kept"] for start in ended["starts"]]
    assert ["(kept)" in row[0] for row in rows] == kept
    assert page.rows("sensitivity", number=1)[0][0].startswith("Dawid-Skene (base)")


def test_places_stand_in_the_order_of_the_queue(study: Study, draw: Draw, tmp_path: Path) -> None:
    """Disputes side by side stand under one head, and places as `adjudicate list` has them."""

    def row(*names: str) -> list[dict[str, Any]]:
        places = ((0, 0), (100, 0), (400, 0), (400, 400))
        return [feature(square(*at), name) for at, name in zip(places, names, strict=True)]

    draw(
        "prostate",
        row("Benign", "Low grade", "Benign", "Benign"),
        row("Low grade", "High grade", "Low grade", "High grade"),
        row("High grade", "Benign", "High grade", "Benign")[:2],
    )
    document(study, "consensus", "run", "--protocol", "prostate")
    told = document(study, "adjudicate", "list")
    rows = page_of(study, tmp_path).rows("disputes")
    heads = [row[0] for row in rows if len(row) == 1]
    together = [region for region in told["regions"] if len(region["disputes"]) > 1]
    assert [head.partition(",")[0] for head in heads] == [f"Region {together[0]['region']}"]
    assert "2 disputes, 2 open; 5,000 µm²" in heads[0]
    assert "x 0 to 200, y 0 to 100 px" in heads[0]
    listed = [int(row[0]) for row in rows if len(row) > 1]
    assert listed == [dispute for region in told["regions"] for dispute in region["disputes"]]
    assert len(listed) == 4
    gain = {one["dispute"]: f"{one['gain']:,.0f}" for one in told["disputes"]}
    assert [row[4] for row in rows if len(row) > 1] == [gain[dispute] for dispute in listed]


def test_a_long_queue_is_cut_and_says_so(
    study: Study, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of the queue are listed, and how many there are in all is told."""
    assert MOST_DISPUTES_LISTED > 100
    monkeypatch.setattr("consensus.reporting.disputes.MOST_DISPUTES_LISTED", 2)
    draw(
        "prostate",
        *([feature(square(200 * x, 0), name) for x in range(3)]
          for name in ("Benign", "Low grade", "High grade")),
    )  # fmt: skip
    run = document(study, "consensus", "run", "--protocol", "prostate")
    page = page_of(study, tmp_path)
    assert run["disputes"] == 3
    first = document(study, "adjudicate", "list")["regions"][:2]
    listed = [row[0] for row in page.rows("disputes") if len(row) > 1]
    assert listed == [str(dispute) for region in first for dispute in region["disputes"]]
    assert "2 of 3 are listed" in " ".join(page.text.split())
