"""The options of fusion on the command line, in a store and for tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROTOCOL, CommandResult, feature, square

Call = Callable[..., CommandResult]
MM2 = 1000 * 800 * 0.25


@pytest.fixture
def weighted(pathquorum: Call, tmp_path: Path) -> Call:
    """A study whose protocol weighs votes by role: one senior, two pathologists, six patients."""
    text = (
        PROTOCOL + "\n[consensus]\nmin_raters = 2\nrole_weights = { senior = 3, pathologist = 1 }\n"
    )
    (tmp_path / "p.toml").write_text(text, encoding="utf-8")
    calls: list[tuple[object, ...]] = [("protocol", "add", tmp_path / "p.toml")]
    calls += [
        ("annotator", "add", handle, "--role", role)
        for handle, role in (("S", "senior"), ("P1", "pathologist"), ("P2", "pathologist"))
    ]
    for number in range(6):
        slide = f"S{number}"
        about = ("--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", f"patient {number}")
        calls.append(("slide", "add", slide, *about))
        for handle in ("S", "P1", "P2"):
            name = "High grade" if handle == "S" or number % 2 else "Benign"
            drawn = [feature(square(0, 0), name), feature(square(300 + 9 * number, 0), "Low grade")]
            folder = tmp_path / handle
            folder.mkdir(exist_ok=True)
            path = folder / f"{slide}.geojson"
            path.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}))
    for handle in ("S", "P1", "P2"):
        who = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        calls.append(("pull", tmp_path / handle, *who))
    for call in calls:
        result = pathquorum(*call)
        assert result.status == 0, result.err
    return pathquorum


def run(call: Call, *more: object) -> dict[str, Any]:
    result = call("consensus", "run", "--protocol", "prostate", "--json", *more)
    assert result.status == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def test_a_seniors_vote_outweighs_two_and_the_weights_stand_in_the_run(
    weighted: Call, tmp_path: Path
) -> None:
    plain, by_role = run(weighted), run(weighted, "--votes", "role")
    assert plain["classes"]["Benign"]["weight"] == pytest.approx(3 * 2500)
    assert by_role["classes"]["Benign"]["weight"] == 0
    assert by_role["classes"]["High grade"]["weight"] == pytest.approx(6 * 2500)
    assert by_role["parameters"]["votes"] == "role"
    assert by_role["parameters"]["vote_weights"] == {"P1": 1, "P2": 1, "S": 3}
    shown = weighted("consensus", "show", by_role["run"])
    assert "Votes by role: P1 1, P2 1, S 3." in shown.out
    report = tmp_path / "report.html"
    assert weighted("report", "--run", by_role["run"], "--to", report).status == 0
    assert "vote weights: P1 1, P2 1, S 3" in report.read_text(encoding="utf-8")


def test_agreement_weighs_the_votes_and_says_how(weighted: Call) -> None:
    weights = run(weighted, "--votes", "agreement")["parameters"]["vote_weights"]
    assert weights["P1"] == pytest.approx(weights["P2"])
    assert 0 < weights["S"] < weights["P1"] < 1


def test_a_protocol_that_states_no_weights_is_refused_and_nothing_is_written(study: Call) -> None:
    result = study("consensus", "run", "--protocol", "prostate", "--votes", "role")
    assert result.status == 1
    assert study("consensus", "list", "--json").json["runs"] == []


def test_role_weights_that_are_missing_are_named(
    study: Call, write_export: Callable[..., Path]
) -> None:
    path = write_export([feature(square(0, 0), "Benign")])
    assert study("pull", path, "--annotator", "P1", "--protocol", "prostate").status == 0
    result = study("consensus", "run", "--protocol", "prostate", "--votes", "role")
    assert (result.status, result.out) == (1, "")
    assert "prostate@1 states no [consensus.role_weights]" in result.err
    assert result.err.count("\n") == 1
    assert study("consensus", "list", "--json").json["runs"] == []


def test_quality_stands_beside_what_it_was_taken_over(weighted: Call) -> None:
    made = run(weighted, "--bootstrap", 200, "--seed", 3)
    senior = made["raters_quality"]["S"]
    assert senior["sensitivity"]["Benign"] == 0
    assert senior["sensitivity_over"]["Benign"] == pytest.approx(3 * 2500)
    assert senior["confusion"]["Benign"]["High grade"] == pytest.approx(3 * 2500)
    assert senior["domain_um2"] == senior["domain_weight"] == pytest.approx(6 * MM2)
    assert senior["specificity_over"]["Benign"] == pytest.approx(6 * MM2 - 3 * 2500)
    assert senior["specificity_ci"]["High grade"]["ci_status"] == "few clusters"
    assert senior["sensitivity_ci"]["Benign"]["ci_status"] == "undefined: 3 clusters"
    assert made["quality_basis"] == {
        "against": "labels that are not open",
        "domain": "all that was rated",
        "intervals": "bootstrap over clusters, the consensus held fixed",
        "cluster_unit": "patient",
        "bootstrap": 200,
        "seed": 3,
    }
    shown = weighted("consensus", "show", made["run"]).out
    assert "the consensus held fixed (patient)" in " ".join(shown.split())


def test_starts_and_convergence_are_reported(weighted: Call) -> None:
    options = ("--starts", 3, "--prior", 0.1, "--stopping", "likelihood")
    made = run(weighted, "--method", "dawid-skene", *options)
    assert len(made["convergence"]["starts"]) == 3
    assert made["convergence"]["converged"] is True
    assert made["parameters"]["prior"] == 0.1
    shown = weighted("consensus", "show", made["run"]).out
    assert "converged; log-likelihood" in shown
    assert "vote shares" in shown
    assert "random 2" in shown
    assert run(weighted)["convergence"] is None


def test_staple_per_class_names_each_domain(weighted: Call) -> None:
    made = run(weighted, "--method", "staple", "--per-class")
    told = made["staple_per_class"]["Low grade"]
    for one in told["raters"].values():
        assert one["sensitivity"] == pytest.approx(1, abs=1e-6)
        assert one["sensitivity_over"] + one["specificity_over"] == pytest.approx(6 * MM2)
    assert told["weight"] == pytest.approx(6 * 2500)
    assert "STAPLE, each class against the rest" in weighted("consensus", "show", made["run"]).out
    assert "staple_per_class" not in run(weighted, "--method", "staple")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--method", "staple", "--votes", "role"), "--votes belongs to --method majority"),
        (("--prior", 1), "--prior belongs to --method dawid-skene"),
        (("--method", "dawid-skene", "--prior", -1), "a prior counts items"),
        (("--method", "dawid-skene", "--starts", 0), "starts 0 is below 1"),
        (("--per-class",), "--per-class belongs to --method staple"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_write_nothing(
    weighted: Call, options: tuple[object, ...], says: str
) -> None:
    result = weighted("consensus", "run", "--protocol", "prostate", *options)
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert says in result.err
    assert weighted("consensus", "list", "--json").json["runs"] == []


def test_sensitivity_of_a_study_lists_methods_votes_and_raters(
    weighted: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # a table cut to 80 columns shortens its names
    result = weighted("consensus", "sensitivity", "--protocol", "prostate", "--json")
    assert result.status == 0, result.err
    found = {variant["variant"]: variant for variant in result.json["variants"]}
    assert list(found)[:3] == ["majority", "majority by role", "majority by agreement"]
    assert found["majority by role"]["changed"]["weight"] == pytest.approx(3 * 2500)
    assert found["majority by role"]["classes"]["Benign"]["moved"] == pytest.approx(-3 * 2500)
    assert found["without P1"]["open"]["weight"] == pytest.approx(3 * 2500)
    assert found["without S"]["changed"]["share"] == 0
    assert weighted("consensus", "list", "--json").json["runs"] == []
    shown = weighted("consensus", "sensitivity", "--protocol", "prostate").out
    for text in ("majority by role", "without P1", "label changed", "mm2", "(open)"):
        assert text in shown


def test_sensitivity_says_what_is_refused(study: Call, write_export: Callable[..., Path]) -> None:
    for handle in ("P1", "P2"):
        path = write_export([feature(square(0, 0), "Benign")], handle)
        who = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        assert study("pull", path, *who).status == 0
    shown = study("consensus", "sensitivity", "--protocol", "prostate").out
    assert "majority by role refused: protocol prostate@1 states no" in " ".join(shown.split())
    assert "staple refused: staple needs three raters" in " ".join(shown.split())


@pytest.fixture
def ratings_csv(tmp_path: Path) -> Path:
    rows = ["item,rater,label,cluster"]
    for item in range(40):
        for rater, label in (("A", "x"), ("B", "x"), ("C", "y" if item % 3 else "x")):
            rows.append(f"i{item},{rater},{label if item % 4 else 'y'},p{item % 20}")
    (tmp_path / "ratings.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "ratings.csv"


def test_a_table_tells_quality_starts_and_votes(pathquorum: Call, ratings_csv: Path) -> None:
    table = ("consensus", "table", ratings_csv)
    told = pathquorum(*table, "--votes", "agreement", "--bootstrap", 100, "--json").json
    assert told["parameters"]["vote_weights"]["A"] > told["parameters"]["vote_weights"]["C"]
    assert told["raters_quality"]["C"]["sensitivity"]["x"] == pytest.approx(1 / 3)
    assert told["raters_quality"]["C"]["sensitivity_ci"]["x"]["ci_low"] < 1 / 3
    assert told["raters_quality"]["C"]["domain_um2"] is None
    told = pathquorum(*table, "--method", "dawid-skene", "--starts", 2, "--json").json
    assert len(told["convergence"]["starts"]) == 2
    shown = pathquorum(*table, "--method", "staple", "--per-class").out
    assert "STAPLE, each class against the rest" in shown
    assert pathquorum(*table, "--votes", "role").status == 2


def test_sensitivity_of_a_table_needs_no_store(pathquorum: Call, ratings_csv: Path) -> None:
    result = pathquorum("consensus", "sensitivity", "--table", ratings_csv, "--json")
    assert result.status == 0, result.err
    assert [variant["variant"] for variant in result.json["variants"]][-1] == "without C"
    both = pathquorum("consensus", "sensitivity", "--table", ratings_csv, "--protocol", "p")
    assert both.status == 1
    assert "leave --protocol out" in both.err
    assert pathquorum("consensus", "sensitivity", "--classes", "x,y").status == 1
    assert pathquorum("consensus", "sensitivity", "--table", ratings_csv, "--min-raters", 0).status
