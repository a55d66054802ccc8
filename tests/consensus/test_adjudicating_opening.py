"""What an adjudicator's project holds, and in which order: planned without QuPath."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile

from annotation.projects.creating import NewImage
from annotation.store import Store
from annotation.tables import ProtocolVersion, Slide
from consensus.adjudicating import opening
from consensus.queue.triage import Escalated, Triaged, record_triage
from tests.conftest import CommandResult
from tests.consensus.built_run import Item, build_run

SPLIT = {"P1": "Benign", "P2": "=Tumor"}
DISPUTES = 12


class NoQuPath:
    """Stands where Java would be started."""

    def __init__(self, _largest: int) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[NewImage]]:
    """The images of each project that is made, which then is none."""
    projects: list[list[NewImage]] = []

    def create(folder: Path, images: list[NewImage], **_more: Any) -> Path:
        projects.append(images)
        return folder / "project.qpproj"

    monkeypatch.setattr(opening, "create_project", create)
    monkeypatch.setattr(opening, "QuPathProcess", NoQuPath)
    return projects


@pytest.fixture
def run(store: Store, tmp_path: Path) -> int:
    """Twelve disputes, each smaller than the one before, turn by turn on slides A and B."""
    items = []
    for number in range(DISPUTES):
        place = shapely.box(0, 60 * number, 100 - 5 * number, 60 * number + 50)
        items.append(Item("AB"[number % 2], place, SPLIT, None, "disputed", [place]))
    run = build_run(store, items, slides={"A": {}, "B": {}})
    with store.writing() as session:
        for seed, name in enumerate(("A", "B")):
            write_image(tmp_path / f"{name}.tiff", seed)
            session.query(Slide).filter_by(name=name).one().path = str(tmp_path / f"{name}.tiff")
    return run


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb")


Cli = Callable[..., CommandResult]


def opened(pathquorum: Cli, tmp_path: Path, *options: object) -> list[int]:
    result = pathquorum("adjudicate", "open", "--to", tmp_path / "open", *options, "--json")
    assert result.status == 0, result.err
    disputes: list[int] = result.json["disputes"]
    return disputes


def test_names_sort_by_priority_in_a_list_that_sorts_by_text(
    run: int, made: list[list[NewImage]], pathquorum: Cli, tmp_path: Path
) -> None:
    disputes = opened(pathquorum, tmp_path)
    (images,) = made
    names = [str(thing.name) for image in images for thing in image.objects]
    assert len(names) == DISPUTES
    numbers = [int(name.split("dispute ")[1].split(":")[0]) for name in sorted(names)]
    assert numbers == disputes
    assert [image.name for image in images] == sorted(image.name for image in images)


def test_the_order_the_seed_and_the_limit_are_those_of_the_queue(
    run: int, made: list[list[NewImage]], pathquorum: Cli, tmp_path: Path
) -> None:
    for options in (
        ("--order", "area"),
        ("--order", "disagreement"),
        ("--order", "random", "--seed", 3),
        ("--order", "random", "--seed", 4),
    ):
        listed = pathquorum("adjudicate", "list", *options, "--json").json["disputes"]
        queued = [one["dispute"] for one in listed]
        assert opened(pathquorum, tmp_path, *options) == queued
        assert opened(pathquorum, tmp_path, *options, "--limit", 3) == queued[:3]
    assert sum(len(image.objects) for image in made[-1]) == 3
    assert opened(pathquorum, tmp_path, "--order", "random", "--seed", 3) != queued
    refused = pathquorum("adjudicate", "open", "--to", tmp_path / "open", "--limit", 0)
    assert (refused.status, "--limit 0 leaves nothing" in refused.err) == (1, True)


def test_a_file_in_the_slides_place_that_is_another_image_is_not_shown(
    run: int, made: list[list[NewImage]], pathquorum: Cli, store: Store, tmp_path: Path
) -> None:
    from annotation.slides import fingerprint

    with store.writing() as session:
        for name in ("A", "B"):
            slide = session.query(Slide).filter_by(name=name).one()
            slide.fingerprint = fingerprint(tmp_path / f"{name}.tiff")
    opened(pathquorum, tmp_path)
    (tmp_path / "moved").mkdir()
    (tmp_path / "B.tiff").rename(tmp_path / "moved" / "B.tiff")
    write_image(tmp_path / "B.tiff", 7)
    refused = pathquorum("adjudicate", "open", "--to", tmp_path / "open")
    assert refused.status == 1
    assert "holds another image by its fingerprint" in refused.err
    opened(pathquorum, tmp_path, "--slides-root", tmp_path / "moved")
    assert made[-1][1].uri == (tmp_path / "moved" / "B.tiff").as_uri()


def test_what_a_model_escalated_is_opened_with_what_it_said(
    pathquorum: Cli, store: Store, run: int, made: list[list[NewImage]], tmp_path: Path
) -> None:
    """The triage is the latest run; its name has the model's class where raters' would stand."""
    place = shapely.box(0, 0, 40, 40)
    with store.writing() as session:
        row = session.query(ProtocolVersion).one()
        slide = session.query(Slide).filter_by(name="B").one()
        escalated = Escalated(slide, place, 400.0, (0.4, 0.6, 0.0))
        classes = ("Benign", "=Tumor", "background")
        record_triage(session, Triaged(row, classes, [escalated], {}, "0" * 64, {}))
    assert opened(pathquorum, tmp_path) == [DISPUTES + 1]
    (image,) = made[-1]
    (thing,) = image.objects
    assert thing.name == f"1. dispute {DISPUTES + 1}: model: =Tumor 0.60"
    assert thing.geometry.equals(place)
    assert thing.path_class is None
