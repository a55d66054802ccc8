"""The concordance report: one page that says what the store says, and nothing that it shouldn't."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.audit import verify
from annotation.store import Store, open_store
from annotation.tables import Event
from consensus.report import collect_report
from consensus.reporting import figures as report_figures
from consensus.reporting.numbers import number_text
from consensus.runs import find_run
from tests.conftest import CommandResult, feature, square
from tests.consensus.report_page import Page
from tests.tampering import tamper

Study = Callable[..., CommandResult]
Pull = Callable[..., None]

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def pull(study: Study, write_export: Callable[..., Path]) -> Pull:
    """Pulls what a rater drew on a slide."""

    def pull(handle: str, drawn: list[dict[str, Any]], *more: object, slide: str = "S1") -> None:
        path = write_export(drawn, handle, slide)
        accepted = ("--accept-copy", "--accept-removals")
        result = study(
            "pull", path, "--annotator", handle, "--protocol", "prostate", *accepted, *more
        )
        assert result.status == 0, result.err

    return pull


@pytest.fixture
def disputed(study: Study, pull: Pull) -> Study:
    """Three raters on S1, who agree on one square and disagree on two."""
    pull("P1", [drawn(0, "Benign"), drawn(200, "Benign"), drawn(400, "High grade")])
    pull("P2", [drawn(0, "Benign"), drawn(200, "Low grade"), drawn(400, "High grade")])
    pull("P3", [drawn(0, "Benign"), drawn(200, "High grade")])
    # P3 leaves the third square out: two against one, so only the second one is disputed.
    fuse(study)
    return study


def drawn(x: float, path_class: str, y: float = 0) -> dict[str, Any]:
    return feature(square(x, y), path_class)


def fuse(study: Study, protocol: str = "prostate") -> dict[str, Any]:
    result = study("consensus", "run", "--protocol", protocol, "--json")
    assert result.status == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def write(study: Study, path: Path, *more: object) -> str:
    result = study("report", "--to", path, "--json", *more)
    assert result.status == 0, result.err
    return path.read_text(encoding="utf-8")


def test_the_command_names_its_file_and_the_trail_has_its_hash(
    disputed: Study, store: Store, tmp_path: Path
) -> None:
    """`report --json` gives the file; the event holds the SHA-256 of what was written."""
    head = disputed("audit", "verify", "--json").json["head"]
    path = tmp_path / "out" / "report.html"
    result = disputed("report", "--run", 1, "--to", path, "--json")
    assert result.status == 0
    assert result.json["file"] == str(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with store.reading() as session:
        event = session.scalars(select(Event).where(Event.action == "report written")).one()
        assert event.subject == "run:1"
        expected = {"file": "report.html", "sha256": digest, "audit_head": head, "signed": False}
        assert event.new == expected
        assert verify(session, against=head).ok
    assert head in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_recorded_leaves_the_earlier_one(
    disputed: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes together with the trail, or not at all, and no part of it stays behind."""
    path = tmp_path / "out" / "report.html"
    write(disputed, path)
    before = path.read_bytes()

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("consensus.report.record", fail)
    result = disputed("report", "--to", path)
    assert (result.status, result.out) == (1, "")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "7", "--to", "r.html"), "no consensus run 7"),
        (("--to", "."), "is a folder; name the report's file"),
    ],
)
def test_a_wrong_run_or_path_is_one_line(
    disputed: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """An unknown run and a folder as target are refused, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = disputed("report", *arguments)
    assert (result.status, result.out) == (1, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_names_are_text_whatever_they_hold(
    pathquorum: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """A slide, class, handle, site or reason that is markup or turns the text stays a name."""
    turned = "\N{RIGHT-TO-LEFT OVERRIDE}live"
    protocol = tmp_path / "p.toml"
    names = json.dumps(HOSTILE), json.dumps("'\"><img src=x onerror=alert(2)>")
    protocol.write_text(
        f"name = {names[0]}\nversion = '1'\ntask = 'regions'\n[domain]\nrule = 'slide'\n"
        f"[[classes]]\nname = {names[0]}\n[[classes]]\nname = {names[1]}\n",
        encoding="utf-8",
    )
    handles = HOSTILE, turned
    size = "--width", 900, "--height", 900, "--mpp", 0.5
    commands: list[tuple[object, ...]] = [
        ("protocol", "add", protocol),
        *(("annotator", "add", handle, "--role", "pathologist") for handle in handles),
        ("annotator", "add", "L", "--role", "lead", "--credential", f"{HOSTILE}:a:b"),
        ("slide", "add", HOSTILE, *size, "--patient", HOSTILE, "--site", HOSTILE),
    ]
    for number, handle in enumerate(handles):
        export = write_export([drawn(0, json.loads(names[number]))], f"R{number}")
        pulled = ("--annotator", handle, "--protocol", HOSTILE, "--slide", HOSTILE)
        commands.append(("pull", export, *pulled))
    commands += [
        ("consensus", "run", "--protocol", HOSTILE),
        ("adjudicate", "decide", 1, "--indeterminate", "--by", "L", "--reason", HOSTILE),
    ]
    for command in commands:
        result = pathquorum(*command)
        assert result.status == 0, (command, result.err)
    page = Page(write(pathquorum, tmp_path / "r.html"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert not [
        key for _, attributes in page.elements for key in attributes if key.startswith("on")
    ]
    assert [a["src"] for tag, a in page.elements if tag == "img" and a["src"] == "x"] == []
    assert page.rows("disputes")[0][1] == HOSTILE
    assert HOSTILE in page.rows("disputes")[0][-1]
    assert [row[0] for row in page.rows("classes")] == [*map(json.loads, names), "background"]
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page.text
    assert {row[0] for row in page.rows("people")} >= {HOSTILE, "\N{REPLACEMENT CHARACTER}live"}


def test_the_page_needs_nothing_beside_it(disputed: Study, tmp_path: Path) -> None:
    """Every source and link lies within the page, and its policy forbids everything else."""
    text = write(disputed, tmp_path / "r.html")
    page = Page(text)
    links = [a[key] for _, a in page.elements for key in ("src", "href", "srcset") if key in a]
    assert len(links) > 5
    assert all(str(link).startswith(("data:", "#")) for link in links)
    anchors = {str(link)[1:] for link in links if str(link).startswith("#")}
    assert anchors <= {a.get("id") for _, a in page.elements}
    assert "url(" not in text
    assert "@import" not in text
    policy = [
        a["content"]
        for _, a in page.elements
        if "content-security" in str(a.get("http-equiv")).lower()
    ]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_tables_and_pictures_can_be_read_without_eyes(disputed: Study, tmp_path: Path) -> None:
    """Captions, scopes, alternative texts, and headings that skip no level."""
    text = write(disputed, tmp_path / "r.html")
    page = Page(text)
    n_tables = sum(tag == "table" for tag, _ in page.elements)
    assert n_tables == len(page.tables) >= 8
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    alternatives = [str(a["alt"]) for tag, a in page.elements if tag == "img"]
    assert len(alternatives) == 1
    assert "Slide S1" in alternatives[0]
    assert "P1 (3), P2 (3), P3 (2)" in alternatives[0]
    assert "1 at the upper centre (2,500 µm²)" in alternatives[0]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert ("html", {"lang": "en"}) in page.elements


def test_no_person_is_named(study: Study, pull: Pull, tmp_path: Path) -> None:
    """Names, addresses, credential numbers and issuers, and folders stay out of the page."""
    secret = ("--name", "Ada Lovelace", "--email", "ada@example.org")
    credential = ("--credential", "board:Guild of Surgeons:B-4711", "--valid-from", "2020-01-01")
    assert (
        study("annotator", "add", "P1", "--role", "pathologist", *secret, *credential).status == 0
    )
    pull("P1", [drawn(0, "Benign")])
    pull("P2", [drawn(0, "Low grade")])
    fuse(study)
    text = write(study, tmp_path / "r.html")
    for private in ("Lovelace", "ada@", "Guild", "4711", str(tmp_path)):
        assert private not in text
    assert "board (from 2020-01-01)" in text


def test_figures_are_those_of_the_agreement_command(disputed: Study, tmp_path: Path) -> None:
    """Class table, coefficients and rater matrix show what `agreement` prints."""
    document = disputed("agreement", "--protocol", "prostate", "--json").json
    page = Page(write(disputed, tmp_path / "r.html"))
    rows = {row[0]: row for row in page.rows("classes")}
    assert list(rows) == document["classes"] == ["Benign", "Low grade", "High grade", "background"]
    for name, figures in document["per_class"].items():
        assert rows[name][1] == number_text(figures["kappa"]["value"])
    assert rows["Benign"][2] == "undefined: 1 clusters"
    coefficients = {row[0]: row[1] for row in page.rows("coefficients")}
    alpha = document["coefficients"]["krippendorff"]["value"]
    assert coefficients["Krippendorff’s alpha"] == number_text(alpha)
    matrix = {row[0]: row[1:] for row in page.tables["matrix-caption-1"][1:]}
    for pair in document["pairs"]:
        a, b = (document["raters"].index(pair[key]) for key in "ab")
        shown = number_text(pair["kappa"]["value"])
        assert matrix[pair["a"]][b] == matrix[pair["b"]][a] == shown
    assert [matrix[rater][index] for index, rater in enumerate(matrix)] == ["–"] * 3


def test_single_raters_are_those_of_the_agreement_command(
    disputed: Study, pull: Pull, tmp_path: Path
) -> None:
    """Against the run, the others and themselves: the tables show what `agreement` prints."""
    again = [drawn(0, "Benign"), drawn(200, "Low grade"), drawn(400, "High grade")]
    pull("P1", again, "--replicate", 2)
    fuse(disputed)
    document = disputed("agreement", "--reference", "adjudicated", "--json").json
    page = Page(write(disputed, tmp_path / "r.html"))
    parts = ("reference", "others", "own")
    for part, key in zip(parts, ("reference", "others", "intra_rater"), strict=True):
        raters = document[key]["raters"]
        assert [row[0] for row in page.rows(part)] == [one["rater"] for one in raters]
        assert [row[1] for row in page.rows(part)] == [str(one["items"]) for one in raters]
        for row, one in zip(page.rows(part), raters, strict=True):
            assert row[3] == number_text(one["kappa"]["value"])
    assert [row[0] for row in page.rows("own")] == ["P1"]
    classes = page.rows("others-classes")
    assert [row[0] for row in classes][:4] == ["Benign", "P1", "P2", "P3"]
    assert len(classes) == 4 * (1 + 3)
    benign = document["others"]["raters"][0]["per_class"]["Benign"]
    assert classes[1][1] == number_text(benign["kappa"]["value"])
    assert "Against the consensus of run 2" in page.text
    indices = {row[0]: row for row in page.rows("indices")}
    for name, figures in document["per_class"].items():
        assert indices[name][1] == number_text(figures["prevalence_index"]["value"])


def test_what_cannot_be_computed_says_why(study: Study, pull: Pull, tmp_path: Path) -> None:
    """An undefined coefficient stands with its reason, in its cell."""
    pull("P1", [drawn(0, "Benign")])
    pull("P2", [drawn(0, "Benign")])
    fuse(study)
    page = Page(write(study, tmp_path / "r.html"))
    rows = {row[0]: row for row in page.rows("classes")}
    assert rows["High grade"][1] == "undefined: class not used"
    assert rows["High grade"][-1] == "0.0 %"


def test_all_that_was_rated_is_accounted_for(disputed: Study, tmp_path: Path) -> None:
    """Consensus and remainder add up to what was rated, before and after a decision."""
    for decide in (False, True):
        if decide:
            command = ("--class", "Low grade", "--by", "L", "--reason", "seen")
            assert disputed("adjudicate", "decide", 1, *command).status == 0
        rows = [r for r in Page(write(disputed, tmp_path / "r.html")).rows("account") if len(r) > 1]
        areas = {row[0]: float(row[3].replace(",", "")) for row in rows}
        total = areas.pop("Rated in all")
        assert total == 1000 * 800 * 0.25 / 1e6
        assert sum(areas.values()) == pytest.approx(total)
        assert areas["Low grade"] == (0.0025 if decide else 0)
        assert ("in dispute, not decided yet" in areas) is not decide


def test_differences_too_small_to_be_disputed_are_accounted_for(
    pathquorum: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """A sliver of a disputed pattern below the least area is in no dispute, and not lost."""
    protocol = tmp_path / "p.toml"
    text = SHORT.format(task="regions") + "[domain]\nrule = 'slide'\n"
    protocol.write_text(text + "[dispute]\nmin_area_um2 = 100\n", encoding="utf-8")
    size = "--width", 1000, "--height", 800, "--mpp", 0.5
    commands: list[tuple[object, ...]] = [
        ("protocol", "add", protocol),
        ("slide", "add", "S1", *size),
    ]
    for handle, path_class in (("P1", "A"), ("P2", "B")):
        large, small = feature(square(0, 0), path_class), feature(square(500, 0, 10), path_class)
        commands.append(("annotator", "add", handle, "--role", "pathologist"))
        pulled = ("--annotator", handle, "--protocol", "short")
        commands.append(("pull", write_export([large, small], handle), *pulled))
    commands.append(("consensus", "run"))
    for command in commands:
        result = pathquorum(*command)
        assert result.status == 0, (command, result.err)
    rows = Page(write(pathquorum, tmp_path / "r.html")).rows("account")
    shares = {row[0]: row[3] for row in rows if len(row) > 1}
    assert shares["in dispute, not decided yet"] == "0.0025"
    assert shares["differences too small to be disputed"] == "<0.0001"
    assert shares["background"] == "0.1975"
    assert shares["Rated in all"] == "0.2000"


def test_disputes_stand_as_the_adjudicator_saw_them(disputed: Study, tmp_path: Path) -> None:
    """Labels under masked names; then who decided what, and why."""
    shown = disputed("adjudicate", "list", "--json").json["disputes"][0]
    before = Page(write(disputed, tmp_path / "r.html")).rows("disputes")
    assert len(before) == 1
    gain = f"{shown['gain']:,.0f}"
    assert before[0][:5] == ["1", "S1", "2,500", f"{shown['severity']:.2f}", gain]
    for rater, label in shown["labels"].items():
        assert f"{label}: {rater}" in before[0][5].replace("\N{NO-BREAK SPACE}", " ")
    assert not re.search(r"P[123]", " ".join(before[0]))
    assert before[0][6:] == ["open", "", ""]
    command = ("--class", "Low grade", "--by", "L", "--reason", "seen at high power")
    assert disputed("adjudicate", "decide", 1, *command).status == 0
    fuse(disputed)
    after = Page(write(disputed, tmp_path / "r.html")).rows("disputes")
    assert after[0][6:8] == ["Low grade", "L"]
    assert after[0][8] == "seen at high power; inherited from an earlier run"


def test_what_was_pulled_later_is_left_out_and_said_so(
    disputed: Study, pull: Pull, store_url: str, tmp_path: Path
) -> None:
    """The report of a run shows the reads as the run saw them."""
    before = Page(write(disputed, tmp_path / "r.html"))
    pull("P3", [drawn(600, "High grade", y) for y in (0, 200, 400, 600)])
    result = disputed("report", "--run", 1, "--to", tmp_path / "r.html")
    after = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "reads that were pulled after the run and are not in it: 1" in result.err
    assert "1 read was pulled after this run and is not part of it" in " ".join(after.text.split())
    for name in ("classes", "reads", "account", "coefficients"):
        assert after.rows(name) == before.rows(name)
    store = open_store(store_url)
    with store.reading() as session:
        assert collect_report(session, find_run(session, 1)).digest_matches
    store.close()


def test_reads_say_when_how_and_whether_they_count(
    study: Study, pull: Pull, tmp_path: Path
) -> None:
    """Dates that were inferred are marked; exclusions have a reason, copied outlines a flag."""
    pull("P1", [drawn(0, "Benign")], "--read-date", "2026-01-05")
    pull("P1", [drawn(0, "Low grade")], "--read-date", "2026-02-05", "--replicate", 2)
    copied = {**drawn(0, "Benign"), "id": "11111111-1111-4111-8111-111111111111"}
    pull("P2", [copied, feature(square(500, 0))])
    fuse(study)
    page = Page(write(study, tmp_path / "r.html"))
    first, again, second = page.rows("reads")
    assert first[:2] == ["S1", "P1"]
    assert first[4:8] == ["2026-01-05", "not recorded", "1", "yes"]
    assert again[3:5] == ["2", "2026-02-05"]
    assert again[7] == "no: replicate 2: not another rater"
    assert second[4].endswith("*")
    assert "1 without a class, not rated" in second[8]
    assert "outlines vertex-identical to those of P1 (1): copied, not independent" in second[8]
    assert "2 of 3 reads count" in page.text


def test_the_protocols_signature_stands_in_the_head(disputed: Study, tmp_path: Path) -> None:
    """Not signed says so on the page and to whoever made it; signed says by whom."""
    result = disputed("report", "--to", tmp_path / "r.html")
    assert "Note: protocol prostate version 1 is not signed." in result.err
    assert "The protocol is not signed." in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert disputed("protocol", "sign", "prostate", "--version", "1", "--by", "L").status == 0
    page = Page(write(disputed, tmp_path / "r.html"))
    assert "Protocol signed by L (lead), 20" in page.text


def test_a_broken_trail_is_told(disputed: Study, store: Store, tmp_path: Path) -> None:
    """A report from a store whose trail was tampered with says so on the page and at once."""
    tamper(store, "update events set reason = 'x' where id = 2")
    result = disputed("report", "--to", tmp_path / "r.html")
    assert "the audit trail is broken: event 2 is bad" in result.err
    assert "Broken: event 2 is bad" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_more_slides_than_pictures_are_named(
    study: Study, pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slides on which answers gain most are drawn, the others named."""
    monkeypatch.setattr(report_figures, "MOST_PICTURES", 1)
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
    assert study("slide", "add", "S2", *size).status == 0
    for slide, other in (("S1", "Low grade"), ("S2", "High grade")):
        pull("P1", [drawn(0, "Benign")], slide=slide)
        pull("P2", [drawn(0, other)], slide=slide)
    fuse(study)
    page = Page(write(study, tmp_path / "r.html"))
    assert [str(a["alt"])[:8] for tag, a in page.elements if tag == "img"] == ["Slide S2"]
    text = " ".join(page.text.split())
    assert "1 further slide has disputes and no picture here" in text
    assert text.split("answers gain most are shown): ")[1].startswith("S1.")


SHORT = """
name = "short"
version = "1"
task = "{task}"
[[classes]]
name = "A"
[[classes]]
name = "B"
"""


def test_objects_are_drawn_and_found_by_f1(study: Study, pull: Pull, tmp_path: Path) -> None:
    """A study of objects, points among them, has pictures and the F1 of finding."""
    protocol = tmp_path / "short.toml"
    protocol.write_text(SHORT.format(task="objects"), encoding="utf-8")
    assert study("protocol", "add", protocol).status == 0
    for handle, path_class in (("P1", "A"), ("P2", "B")):
        point = feature({"type": "Point", "coordinates": [700, 400]}, path_class)
        path = tmp_path / handle / "S1.geojson"
        path.parent.mkdir(exist_ok=True)
        document = {"type": "FeatureCollection", "features": [drawn(0, "A"), point]}
        path.write_text(json.dumps(document), encoding="utf-8")
        arguments = ("--annotator", handle, "--protocol", "short", "--accept-copy")
        result = study("pull", path, *arguments)
        assert result.status == 0, result.err
    fuse(study, "short")
    page = Page(write(study, tmp_path / "r.html"))
    assert page.rows("coefficients")[-1][:2] == ["F1 of finding anything", "1.00"]
    assert [row[1] for row in page.rows("classes") if row[0] == "absent"] == [
        "undefined: no joint negatives"
    ]
    assert sum(tag == "img" for tag, _ in page.elements) == 1
    assert len(page.rows("disputes")) == 1
    assert page.rows("account")[-1][0] == "Rated in all"
    assert page.rows("account")[-1][3] == "2"


def test_slides_have_no_pictures(study: Study, tmp_path: Path) -> None:
    """A study of labelled slides is reported without areas and without pictures."""
    protocol = tmp_path / "short.toml"
    protocol.write_text(SHORT.format(task="slides"), encoding="utf-8")
    assert study("protocol", "add", protocol).status == 0
    for handle, label in (("P1", "A"), ("P2", "B")):
        path = tmp_path / handle / "S1.geojson"
        path.parent.mkdir(exist_ok=True)
        document = {"type": "FeatureCollection", "features": [], "metadata": {"grade": label}}
        path.write_text(json.dumps(document), encoding="utf-8")
        result = study("pull", path, "--annotator", handle, "--protocol", "short")
        assert result.status == 0, result.err
    fuse(study, "short")
    text = write(study, tmp_path / "r.html")
    page = Page(text)
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert page.rows("disputes")[0][:3] == ["1", "S1", "1.00"]
    assert "mm²" not in page.text
    assert "µm²" not in page.text
