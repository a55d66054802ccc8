"""What the README shows is what comes out."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation.cli import run
from annotation.handed_scripts import SCRIPTS
from models.model_file import read_description
from tests.conftest import PROJECT_ROOT, CommandResult
from tests.pictures import FILES, SOFTWARE, draw_pictures
from tests.report_picture import FILE as REPORT
from tests.step_pictures import STEPS, draw_steps
from tests.test_command_line import EVERY_COMMAND

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
ELLIPSIS = "..."


PAGES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((PROJECT_ROOT / "docs").glob("*.md"))
)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shown_after(command: str) -> list[str]:
    """The lines that the README shows below a command of its first screen."""
    (block,) = [b for b in blocks("console") if b.startswith(f"$ {command}\n")]
    return block.splitlines()[1:]


@pytest.fixture(scope="module")
def demo_output(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a demo, and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("demo")
        patch.chdir(folder)
        patch.delenv("PATHQUORUM_STORE", raising=False)
        patch.delenv("COLUMNS", raising=False)
        printed = io.StringIO()
        with redirect_stdout(printed):
            assert run(["demo", "--to", "demo"]) == 0
    return folder / "demo", [line.rstrip() for line in printed.getvalue().splitlines()]


def test_the_demo_prints_what_the_readme_shows(demo_output: tuple[Path, list[str]]) -> None:
    """Every line shown comes out, in this order; only the head of the trail depends on the time."""
    printed = iter(demo_output[1])
    for line in shown_after("make demo"):
        if line.strip() != ELLIPSIS:
            assert line.rstrip() in printed, f"the README shows, but the demo prints no: {line}"


def test_the_demo_leaves_what_it_says(demo_output: tuple[Path, list[str]]) -> None:
    folder, _ = demo_output
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list((folder / "qupath").glob("*.geojson"))) == 12
    assert len(list((folder / "slides").glob("*.tiff"))) == 18
    for form in ("geojson", "masks"):
        assert (folder / "release" / form / "manifest.json").exists()
    assert read_description(folder / "model").method == "em-net"
    assert "For reference only" in (folder / "evaluation" / "card.html").read_text("utf-8")
    assert len(list((folder / "qupath-predictions").glob("*.geojson"))) == 18
    assert "escalated" in (folder / "triage" / "triage.csv").read_text("utf-8")
    assert "No alarm" in (folder / "drift" / "drift.html").read_text("utf-8")


def test_the_demo_can_be_run_again_but_overwrites_nobodys_folder(
    demo_output: tuple[Path, list[str]], tmp_path: Path, pathquorum: Callable[..., CommandResult]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    result = pathquorum("demo", "--to", tmp_path / "mine")
    assert result.status == 1
    assert "not empty" in result.err
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_the_pictures_are_those_of_the_demo(
    demo_output: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Drawn twice they are the same bytes, and they show what the README's show."""
    shown = {Path(path).name: alt for alt, path in re.findall(r"!\[(.*?)\]\((.*?)\)", README)}
    assert set(shown) == {*FILES, REPORT}
    assert (PROJECT_ROOT / "docs" / REPORT).stat().st_size < 300_000
    assert min(len(alt) for alt in shown.values()) > 60
    first, second = (draw_pictures(demo_output[0], tmp_path / name) for name in ("one", "two"))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
        kept = PROJECT_ROOT / "docs" / one.name
        assert kept.stat().st_size < 300_000
        with Image.open(one) as new, Image.open(kept) as old:
            alike = old.info["Software"] == SOFTWARE
            drawn, there = (np.asarray(p.convert("RGB"), dtype=int) for p in (new, old))
        assert drawn.shape == there.shape
        # Other versions may set lines and text another way, by a pixel here and there. Without
        # one rater's outlines, or without the numbers, it is 0.3 and more.
        assert np.abs(drawn - there).mean() < (0.1 if alike else 2)


def test_the_page_for_pathologists_shows_a_picture_of_each_step(
    demo_output: tuple[Path, list[str]], tmp_path: Path
) -> None:
    page = (PROJECT_ROOT / "docs" / "pathologists.md").read_text(encoding="utf-8")
    shown = {path: alt for alt, path in re.findall(r"!\[(.*?)\]\((.*?)\)", page, re.DOTALL)}
    assert set(shown) == {f"steps/{name}" for name in STEPS}
    assert min(len(alt) for alt in shown.values()) > 40
    for one in draw_steps(demo_output[0], tmp_path):
        kept = PROJECT_ROOT / "docs" / "steps" / one.name
        with Image.open(one) as new, Image.open(kept) as old:
            drawn, there = (np.asarray(p.convert("RGB"), dtype=int) for p in (new, old))
        assert drawn.shape == there.shape
        assert np.abs(drawn - there).mean() < 2
    for script in re.findall(r"`(\w+\.groovy)`", page):
        assert script in SCRIPTS


def test_every_command_shown_is_one_that_exists() -> None:
    """Each `pathquorum` line names a command and options that are there."""
    known = dict(EVERY_COMMAND)
    lines = [line for block in blocks("console", README + PAGES) for line in block.splitlines()]
    shown = [line.partition("pathquorum ")[2] for line in lines if line.startswith("$ pathquorum ")]
    assert len(shown) > 20
    for text in shown:
        words = shlex.split(text.split(" | ")[0].split(" > ")[0], comments=True)
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in known:
            path = (*path, words.pop(0))
        assert path, text
        options = {option for parameter in known[path].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, text


def test_make_test_ends_as_the_readme_shows() -> None:
    """The contracts that the README counts are those of the configuration."""
    contracts = (
        (PROJECT_ROOT / "pyproject.toml").read_text().count("[[tool.importlinter.contracts]]")
    )
    assert f"Contracts: {contracts} kept, 0 broken." in shown_after("make test")
