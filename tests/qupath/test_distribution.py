"""Handed out, annotated, pulled: each read is whose it should be, and untouched slides are none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import shapely
from sqlalchemy import select

from annotation.projects.files import ProjectImage, read_project
from annotation.projects.process import QuPathProcess
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.store import Store
from annotation.tables import Annotator, Assignment, Event, Read, Slide
from tests.annotation.distribution.conftest import SLIDES, Study, blinded
from tests.annotation.distribution.test_handing_out import snapshot
from tests.conftest import CommandResult, feature, square

pytestmark = pytest.mark.qupath
__all__ = ["blinded"]

Save = Callable[..., None]
LAST_YEAR = "2025-03-01"


def region(x: float, y: float, side: float, path_class: str | None) -> PathObject:
    return PathObject(
        uuid=str(uuid.uuid4()),
        object_type="annotation",
        path_class=path_class,
        name=None,
        locked=False,
        geometry=shapely.box(x, y, x + side, y + side),
    )


@pytest.fixture
def save(process: QuPathProcess) -> Save:
    """Saves an image as QuPath does after somebody has drawn on it."""

    def draw(image: ProjectImage, objects: Sequence[PathObject]) -> None:
        project = json.loads((image.folder.parents[1] / "project.qpproj").read_bytes())
        (server,) = (
            entry["serverBuilder"]
            for entry in project["images"]
            if entry["entryID"] == image.number
        )
        data = image.data.read_bytes() if image.data.exists() else None
        written = process.write(data, server=server, add=objects)
        image.folder.mkdir(parents=True, exist_ok=True)
        image.data.write_bytes(written.data)
        summary = {"timestamp": int(time.time() * 1000), "hierarchy": written.hierarchy}
        (image.folder / "summary.json").write_text(json.dumps(summary))

    return draw


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    """A folder of a domain for each slide."""
    folder = tmp_path / "domains"
    folder.mkdir()
    for number, name in enumerate(SLIDES):
        document = {
            "type": "FeatureCollection",
            "features": [feature(square(10, 10 + number, 500), "Region*")],
        }
        (folder / f"{name}.geojson").write_text(json.dumps(document))
    return folder


@pytest.fixture
def handed(blinded: Study, tmp_path: Path, domain: Path, qupath_version: str) -> Path:
    """All slides with their domains, handed out masked to P1 and P2."""
    result = blinded(
        "distribute", "--protocol", "blind", "--annotators", "P1,P2", "--to", tmp_path / "out",
        "--domain", domain, "--seed", 1,
    )  # fmt: skip
    assert result.status == 0, result.err
    return tmp_path / "out"


def image_of(
    study: Study, folder: Path, handle: str, slide: str, replicate: int = 1
) -> ProjectImage:
    """The image that stands for a slide, as the list of assignments tells it."""
    (name,) = (
        row["shown_as"]
        for row in study("assign", "--list", "--json").json["assignments"]
        if (row["annotator"], row["slide"], row["replicate"]) == (handle, slide, replicate)
        and row["withdrawn_at"] is None
    )
    images = read_project(folder / handle / "project.qpproj").images
    (image,) = (image for image in images if image.name == name)
    return image


def pulled(result: CommandResult) -> list[tuple[str, str, int]]:
    assert result.status == 0, result.err
    return sorted((r["annotator"], r["slide"], r["objects"]) for r in result.json["reads"])


def test_what_each_person_drew_comes_back_as_theirs_and_untouched_slides_do_not(
    blinded: Study, store: Store, handed: Path, tmp_path: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    save(
        image_of(blinded, handed, "P2", SLIDES[2]),
        [region(50, 50, 80, "Benign"), region(200, 50, 80, "Tumor")],
    )
    before = snapshot(handed)
    result = blinded("pull", handed, "--json")
    assert pulled(result) == [("P1", SLIDES[0], 2), ("P2", SLIDES[2], 3)]
    assert snapshot(handed) == before
    assert len([note for note in result.json["notes"] if "not read yet" in note]) == 2
    with store.reading() as session:
        linked = session.execute(
            select(Annotator.handle, Slide.name, Read.replicate)
            .select_from(Assignment)
            .join(Read, Assignment.read_id == Read.id)
            .join(Annotator, Read.annotator_id == Annotator.id)
            .join(Slide, Read.slide_id == Slide.id)
            .order_by(Annotator.handle)
        ).all()
        assert [tuple(row) for row in linked] == [("P1", SLIDES[0], 1), ("P2", SLIDES[2], 1)]
        actors = session.scalars(select(Event.actor).where(Event.action == "pulled")).all()
        assert len(set(actors)) == 2
    (entry,) = (p for p in blinded("status", "--json").json["protocols"] if p["name"] == "blind")
    assert [(c["pulled"], c["open"]) for c in entry["assignments"]] == [(1, 2), (1, 2)]
    (handed / "P2" / "pathquorum.json").rename(tmp_path / "aside.json")
    again = blinded("pull", handed, "--json")
    assert pulled(again) == [("P1", SLIDES[0], 2)]
    assert "not pulled, for nothing says whose it is: project P2" in again.json["notes"]
    (tmp_path / "aside.json").rename(handed / "P2" / "pathquorum.json")
    again = blinded("pull", handed, "--json")
    assert [read["unchanged"] for read in again.json["reads"]] == [2, 3]


def test_the_domain_lies_locked_in_every_image_and_counts_as_the_readers(
    blinded: Study, handed: Path, save: Save
) -> None:
    for source in open_project(handed / "P1" / "project.qpproj"):
        (thing,) = (thing for batch in source.batches() for thing in batch.objects)
        assert (thing.locked, thing.path_class, thing.geometry.area) == (True, "Region*", 250_000)
    image = image_of(blinded, handed, "P1", SLIDES[1])
    save(image, [region(100, 100, 50, "Tumor"), region(700, 100, 50, "Tumor")])
    (read,) = blinded("pull", handed / "P1", "--json").json["reads"]
    assert (read["objects"], read["ours"], read["outside_domain"]) == (3, 0, 1)


def test_nothing_read_yet_is_no_pull_and_says_so(blinded: Study, handed: Path) -> None:
    result = blinded("pull", handed, "--json")
    assert result.status == 1
    assert "nothing was read yet in P1, P2" in result.err


def test_a_name_picks_one_persons_project_and_contradictions_are_refused(
    blinded: Study, handed: Path, save: Save
) -> None:
    for handle in ("P1", "P2"):
        save(image_of(blinded, handed, handle, SLIDES[0]), [region(50, 50, 80, "Tumor")])
        save(image_of(blinded, handed, handle, SLIDES[1]), [region(50, 50, 80, "Tumor")])
    assert pulled(blinded("pull", handed, "--annotator", "P2", "--slide", SLIDES[0], "--json")) == [
        ("P2", SLIDES[0], 2)
    ]
    for match, arguments in (
        ("handed out to 'P1', not to 'P2'", (handed / "P1", "--annotator", "P2")),
        ("none of the projects is 'P3''s", (handed, "--annotator", "P3")),
        ("not for 'open'", (handed / "P1", "--protocol", "open")),
        ("nothing was read yet", (handed / "P1" / "project.qpproj", "--replicate", 2)),
    ):
        result = blinded("pull", *arguments, "--json")
        assert (result.status, result.out) == (1, "")
        assert match in result.err
    right = ("--annotator", "P1", "--protocol", "blind", "--replicate", 1)
    assert len(pulled(blinded("pull", handed / "P1", *right, "--json"))) == 2


def rebound(folder: Path, **changes: Any) -> None:
    path = folder / "pathquorum.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def test_a_binding_that_says_something_else_than_the_store_is_refused(
    blinded: Study, store: Store, handed: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    whole = json.loads((handed / "P1" / "pathquorum.json").read_bytes())
    theirs = json.loads((handed / "P2" / "pathquorum.json").read_bytes())
    first, second = (whole["images"][number] for number in ("1", "2"))
    for match, changes in (
        ("belongs to another study", {"study": "0" * 32}),
        ("knows nothing of project P1", {"project": str(uuid.uuid4())}),
        ("says otherwise", {"annotator": "P2"}),
        ("says otherwise", {"project": theirs["project"]}),
        ("says otherwise", {"protocol": {**whole["protocol"], "sha256": "0" * 64}}),
        ("were not made for it", {"images": theirs["images"]}),
        ("shows another file", {"images": {**whole["images"], "1": second, "2": first}}),
        ("is no binding", {"images": 3}),
    ):
        rebound(handed / "P1", **changes)
        result = blinded("pull", handed / "P1", "--json")
        assert (result.status, result.out) == (1, ""), match
        assert match in result.err
        assert len(result.err.strip().splitlines()) == 1
        rebound(handed / "P1", **whole)
    with store.reading() as session:
        assert session.scalars(select(Read)).all() == []
    assert len(pulled(blinded("pull", handed / "P1", "--json"))) == 1


def test_a_project_without_its_binding_needs_names_again(
    blinded: Study, handed: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    (handed / "P1" / "pathquorum.json").unlink()
    result = blinded("pull", handed / "P1", "--json")
    assert result.status == 2
    assert "Missing option '--annotator'" in result.err


def test_slides_added_later_leave_what_was_drawn_untouched(
    blinded: Study, tmp_path: Path, save: Save, domain: Path
) -> None:
    out = tmp_path / "out"
    blinded(
        "distribute", "--protocol", "blind", "--annotators", "P1", "--to", out,
        "--slides", SLIDES[0], "--domain", domain / f"{SLIDES[0]}.geojson",
    )  # fmt: skip
    image = image_of(blinded, out, "P1", SLIDES[0])
    save(image, [region(50, 50, 80, "Tumor")])
    drawn = image.data.read_bytes()
    result = blinded(
        "assign", "--annotator", "P1", "--protocol", "blind", "--to", out,
        "--slides", SLIDES[1], "--domain", domain,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert image.data.read_bytes() == drawn
    assert pulled(blinded("pull", out, "--json")) == [("P1", SLIDES[0], 2)]
    save(image_of(blinded, out, "P1", SLIDES[1]), [])
    assert pulled(blinded("pull", out, "--json")) == [("P1", SLIDES[0], 2), ("P1", SLIDES[1], 1)]


def test_a_moved_project_is_still_known(
    blinded: Study, handed: Path, tmp_path: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    moved = tmp_path / "from the hospital"
    (handed / "P1").rename(moved)
    assert pulled(blinded("pull", moved, "--json")) == [("P1", SLIDES[0], 2)]


def test_a_slide_is_read_again_after_its_washout_under_a_new_name(
    blinded: Study, store: Store, handed: Path, tmp_path: Path, save: Save, domain: Path
) -> None:
    first = image_of(blinded, handed, "P1", SLIDES[0])
    save(first, [region(50, 50, 80, "Tumor")])
    assert blinded("pull", handed / "P1", "--read-date", LAST_YEAR).status == 0
    again = (
        "distribute", "--protocol", "blind", "--annotators", "P1", "--to", tmp_path / "again",
        "--replicate", 2, "--domain", domain, "--json",
    )  # fmt: skip
    early = blinded(*again, "--washout", 36_500)
    assert early.status == 1
    assert "36500 days of washout end on 2125-02-05" in early.err
    assert not (tmp_path / "again").exists()
    result = blinded(*again, "--washout", 14)
    assert result.status == 0, result.err
    assert result.json["projects"][0]["slides"] == [SLIDES[0]]
    second = image_of(blinded, tmp_path / "again", "P1", SLIDES[0], replicate=2)
    assert second.name != first.name
    save(second, [region(55, 50, 80, "Tumor")])
    assert pulled(blinded("pull", tmp_path / "again", "--json")) == [("P1", SLIDES[0], 2)]
    with store.reading() as session:
        assert sorted(session.scalars(select(Read.replicate))) == [1, 2]
        assert len(set(session.scalars(select(Assignment.read_id)))) == 3  # one of them open


def test_within_the_washout_it_takes_a_reason_and_the_read_is_told(
    blinded: Study, store: Store, handed: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    assert blinded("pull", handed / "P1").status == 0
    result = blinded(
        "assign", "--annotator", "P1", "--protocol", "blind", "--slides", SLIDES[0], "--to", handed,
        "--replicate", 2, "--washout", 30, "--force", "pilot",
    )  # fmt: skip
    assert result.status == 0, result.err
    save(
        image_of(blinded, handed, "P1", SLIDES[0], replicate=2),
        [region(10, 10, 400, "Region*"), region(50, 50, 80, "Tumor")],
    )
    result = blinded("pull", handed / "P1", "--json")
    assert pulled(result) == [("P1", SLIDES[0], 2), ("P1", SLIDES[0], 2)]
    assert [note for note in result.json["notes"] if "before its washout ended" in note]
    with store.reading() as session:
        reasons = session.scalars(select(Event.reason).where(Event.action == "slides assigned"))
        assert reasons.all() == ["pilot"]


def test_what_was_withdrawn_and_drawn_on_all_the_same_is_told_and_not_pulled(
    blinded: Study, handed: Path, save: Save
) -> None:
    save(image_of(blinded, handed, "P1", SLIDES[0]), [region(50, 50, 80, "Tumor")])
    image = image_of(blinded, handed, "P1", SLIDES[1])
    taken = blinded(
        "assign", "--withdraw", "--annotator", "P1", "--protocol", "blind", "--to", handed, "--json"
    )
    assert [entry["slide"] for entry in taken.json["kept"]] == [SLIDES[0]]
    save(image, [region(50, 50, 80, "Tumor")])
    result = blinded("pull", handed / "P1", "--json")
    assert pulled(result) == [("P1", SLIDES[0], 2)]
    assert [note for note in result.json["notes"] if "was withdrawn from P1 on" in note]


def test_masked_names_enter_neither_the_report_nor_a_release(
    blinded: Study, store: Store, handed: Path, tmp_path: Path, save: Save
) -> None:
    for handle in ("P1", "P2"):
        for slide in SLIDES:
            save(image_of(blinded, handed, handle, slide), [region(50, 50, 80, "Tumor")])
    steps: list[tuple[object, ...]] = [
        ("pull", handed),
        ("consensus", "run", "--protocol", "blind", "--method", "majority"),
        ("report", "--run", 1, "--to", tmp_path / "report.html"),
        ("release", "create", "r1", "--run", 1),
        ("release", "export", "r1", "--format", "geojson", "--to", tmp_path / "release"),
    ]
    for step in steps:
        result = blinded(*step)
        assert result.status == 0, result.err
    with store.reading() as session:
        masks = session.scalars(select(Assignment.shown_name)).all()
    assert len(set(masks)) == 6
    trail = blinded("audit", "export", "--json").out
    shown = [(tmp_path / "report.html").read_text(), trail]
    shown += [
        str(path) + path.read_bytes().decode(errors="replace")
        for path in (tmp_path / "release").rglob("*")
        if path.is_file()
    ]
    assert len(shown) > 4
    for mask in masks:
        assert not [text for text in shown if mask in text]


def test_qupath_opens_a_project_that_was_handed_out_also_where_it_was_moved(
    blinded: Study, handed: Path, tmp_path: Path
) -> None:
    """Through paquo: names, classes and images are there, and what is drawn comes in."""
    image = image_of(blinded, handed, "P1", SLIDES[1])
    moved = tmp_path / "at the hospital"
    (handed / "P1").rename(moved)
    script = Path(__file__).with_name("annotate_projects.py")
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(moved / "project.qpproj"), image.name, "Tumor"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    names = [entry.name for entry in read_project(moved / "project.qpproj").images]
    assert f"{names}\n" in done.stdout
    assert "'Benign', 'Tumor', 'Region*', 'Ignore*'" in done.stdout
    result = blinded("pull", moved, "--json")
    assert pulled(result) == [("P1", SLIDES[1], 2)]
    assert [note for note in result.json["notes"] if "not read yet" in note]


def test_what_is_pushed_into_an_image_nobody_has_opened_is_no_read_of_it(
    blinded: Study, tmp_path: Path, save: Save
) -> None:
    out = tmp_path / "out"
    handed_out = blinded(
        "distribute", "--protocol", "open", "--annotators", "P1,P2,P3", "--to", out, "--slides",
        SLIDES[0],
    )  # fmt: skip
    assert handed_out.status == 0, handed_out.err
    for handle in ("P1", "P2"):
        drawn = [region(10, 10, 400, "Region*"), region(50, 50, 80, "Tumor")]
        save(image_of(blinded, out, handle, SLIDES[0]), drawn)
    assert len(pulled(blinded("pull", out, "--json"))) == 2
    assert blinded("consensus", "run", "--protocol", "open", "--method", "majority").status == 0
    push = ("push", "--run", 1, "--to", out / "P3" / "project.qpproj", "--json")
    result = blinded(*push)
    assert result.status == 0, result.err
    assert result.json["pushed"] > 0
    assert image_of(blinded, out, "P3", SLIDES[0]).data.exists()
    assert {handle for handle, _, _ in pulled(blinded("pull", out, "--json"))} == {"P1", "P2"}
    assert blinded(*push, "--revert").status == 0
    assert {handle for handle, _, _ in pulled(blinded("pull", out, "--json"))} == {"P1", "P2"}
