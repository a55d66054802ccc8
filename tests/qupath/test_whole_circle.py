"""From handing out to reverting, one study against the real QuPath."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.demo.slides import demo_slides, write_slide
from annotation.handed_scripts import hand_out_scripts
from annotation.protocol import parse_protocol
from tests.conftest import CommandResult
from tests.qupath.test_object_writing import opened_with_paquo
from tests.qupath.test_project_push import held
from tests.qupath.test_scripts import run

pytestmark = pytest.mark.qupath

PROTOCOL = """
name = "prostate"
version = "1"
task = "regions"
[blinding]
slides = true
[domain]
rule = "declared"
[[classes]]
name = "Benign"
order = 0
color = "#00A000"
[[classes]]
name = "Low"
order = 1
color = "#F0A000"
[[classes]]
name = "High"
order = 2
color = "#C00000"
"""

# What a person draws: a region that was read, and squares in it; arguments x:y:side:class.
ANNOTATE = """
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs
import static qupath.lib.scripting.QP.*
def drawn = args.collect { word ->
    def (x, y, side, name) = word.toString().split(":")
    def roi = ROIs.createRectangleROI(x as double, y as double, side as double, side as double, ImagePlane.getDefaultPlane())
    PathObjects.createAnnotationObject(roi, PathClass.fromString(name))
}
addObjects(drawn)
getProjectEntry().saveImageData(getCurrentImageData())
"""

# What an adjudicator does: each open dispute gets a class and a reason.
DECIDE = """
import qupath.lib.objects.classes.PathClass
import static qupath.lib.scripting.QP.*
getAnnotationObjects().findAll { it.getMetadata().containsKey("pathquorum") }.each {
    it.setPathClass(PathClass.fromString(args[0].toString()))
    it.setDescription("nuclei at 40x")
}
getProjectEntry().saveImageData(getCurrentImageData())
"""

DRAWN = {
    "P1": ["Region*", "High", "Low"],
    "P2": ["Region*", "Low", "Low"],
    "P3": ["Region*", "Benign", "Low"],
}
PLACES = ["100:100:1500", "200:200:400", "900:900:300"]


def test_from_handing_out_to_reverting(
    qupath_version: str, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """Distribute, annotate, check, pull, agree, fuse, open, decide, collect, push, revert."""

    def call(*arguments: object) -> CommandResult:
        result = pathquorum(*arguments, "--json")
        assert result.status == 0, result.err
        return result

    (tmp_path / "p.toml").write_text(PROTOCOL)
    call("protocol", "add", tmp_path / "p.toml")
    for handle in DRAWN:
        call("annotator", "add", handle, "--role", "pathologist")
    call("annotator", "add", "L", "--role", "lead")
    slides = [write_slide(slide, tmp_path) for slide in demo_slides(0, 2)]
    for slide in slides:
        call("slide", "add", slide)
    handed = tmp_path / "handed"
    made = call(
        "distribute", "--protocol", "prostate", "--annotators", ",".join(DRAWN), "--to", handed
    )
    assert [p["annotator"] for p in made.json["projects"]] == list(DRAWN)
    assigned = call("assign", "--list").json["assignments"]
    first = slides[0].stem

    scripts = tmp_path / "scripts"
    hand_out_scripts(scripts, parse_protocol(PROTOCOL, "test"))
    (scripts / "annotate.groovy").write_text(ANNOTATE)
    (scripts / "decide.groovy").write_text(DECIDE)
    for handle, classes in DRAWN.items():
        project = handed / handle / "project.qpproj"
        (shown,) = (
            row["shown_as"]
            for row in assigned
            if (row["annotator"], row["slide"]) == (handle, first)
        )
        assert first not in project.read_text()
        words = [f"{place}:{name}" for place, name in zip(PLACES, classes, strict=True)]
        run(scripts / "annotate.groovy", project, *words, image=shown)
        told = run(scripts / "check_my_work.groovy", project, image=shown)
        assert told[-1] == "Ready to hand in."

    pulled = call("pull", handed).json["reads"]
    assert [(r["annotator"], r["slide"], r["objects"]) for r in pulled] == [
        (handle, first, 3) for handle in DRAWN
    ]
    agreement = call("agreement", "--protocol", "prostate").json
    assert agreement["raters"] == list(DRAWN)
    assert agreement["coefficients"]["percent"]["value"] < 1
    ran = call("consensus", "run", "--protocol", "prostate", "--method", "majority").json
    assert ran["disputes"] == 1

    opened = call("adjudicate", "open", "--to", tmp_path / "open").json
    assert (opened["slides"], len(opened["disputes"])) == ([first], 1)
    half_done = pathquorum("adjudicate", "collect", tmp_path / "open", "--by", "L")
    assert half_done.status == 1
    assert f"dispute {opened['disputes'][0]} on {first}" in half_done.err
    run(scripts / "decide.groovy", Path(opened["project"]), "High", image="")
    collected = call("adjudicate", "collect", tmp_path / "open", "--by", "L").json
    assert (collected["decided"], collected["open"]) == (opened["disputes"], [])
    (dispute,) = call("adjudicate", "list").json["disputes"]
    assert (dispute["class"], dispute["by"], dispute["reason"]) == ("High", "L", "nuclei at 40x")

    target = handed / "P1" / "project.qpproj"
    before = held(target)
    pushed = call("push", "--run", ran["run"], "--to", target).json
    assert pushed["pushed"] == 2
    told = opened_with_paquo(target)
    (shown,) = (name for name in before if len(told[name][2]) == 5)
    again = call("push", "--run", ran["run"], "--to", target).json
    assert (again["pushed"], again["skipped"]) == (0, 2)
    back = call("pull", handed / "P1").json["reads"]
    assert [(r["ours"], r["unchanged"], r["added"], r["removed"]) for r in back] == [(2, 3, 0, 0)]
    (revision, *_) = call("history", "--slide", first, "--annotator", "P1").json["revisions"]
    assert revision["state"] == "added"
    assert call("push", "--run", ran["run"], "--to", target, "--revert").json["reverted"] == 2
    assert held(target)[shown] == before[shown]
    assert call("audit", "verify").json["ok"]
    assert json.loads(pathquorum("status", "--json").out)
