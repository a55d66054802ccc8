"""Strips along boundaries, and the figures and disputes without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely import Geometry, box

from annotation.errors import InputError
from consensus import boundary
from consensus.boundary import boundary_strips
from consensus.overlay import Faces, Layer, overlay
from consensus.regions import disputed_components
from tests.conftest import PROTOCOL, CommandResult, feature
from tests.consensus.test_regions import layers, ugly_layers


def faces_of(*drawn: Geometry, side: float = 200) -> Faces:
    """Raters of one class each, who drew one shape each."""
    one = np.zeros(1, dtype=np.int32)
    raters = [Layer(f"r{i}", np.array([shape]), one) for i, shape in enumerate(drawn)]
    return overlay(raters, extent=(side, side), background=1)


def test_outlines_a_little_apart_differ_by_a_strip_only() -> None:
    """Up to the strip's width nothing is left; below it only the corners are."""
    faces = faces_of(box(0, 0, 100, 150), box(0, 0, 103, 150))
    disputed_px2 = 3 * 150
    assert boundary_strips(faces, 3.01).strip_px2.sum() == pytest.approx(disputed_px2)
    corners_px2 = 4 * (1 - np.pi / 4) * 1.25**2
    found = boundary_strips(faces, 2.5)
    assert found.strip_px2.sum() == pytest.approx(corners_px2, rel=0.03)
    assert shapely.area(found.cores).sum() == pytest.approx(disputed_px2 - corners_px2, rel=1e-3)


def test_many_outlines_side_by_side_disagree_over_all_of_their_width() -> None:
    """Five outlines 2 px apart leave faces of 2 px, but people who differ by 8."""
    faces = faces_of(*(box(0, 0, 100 + 2 * i, 150) for i in range(5)))
    assert boundary_strips(faces, 7).strip_px2.sum() < 0.05 * 8 * 150
    assert boundary_strips(faces, 8.1).strip_px2.sum() == pytest.approx(8 * 150)


def test_what_one_rater_alone_has_read_is_not_disputed() -> None:
    one = np.zeros(1, dtype=np.int32)
    raters = [
        Layer("ann", np.array([box(0, 0, 50, 50)]), one, domain=box(0, 0, 52, 60)),
        Layer("bob", np.array([box(0, 0, 50, 50)]), one, domain=box(0, 0, 50, 60)),
    ]
    faces = overlay(raters, extent=(100, 100), background=1)
    assert boundary_strips(faces, 5).strip_px2.tolist() == [0.0] * len(faces.patterns)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 3.0, 9.0]), st.booleans())
def test_strips_and_cores_make_up_what_is_disputed(
    seed: int, tolerance_px: float, ugly: bool
) -> None:
    """Nothing is lost, unanimous patterns have none, and a wider tolerance takes no less."""
    raters = ugly_layers(seed) if ugly else layers(seed)
    side = 40 if ugly else 100
    faces = overlay(raters, extent=(side, side), background=3)
    found = boundary_strips(faces, tolerance_px)
    disputed = (faces.patterns != faces.patterns[:, :1]).any(axis=1)
    assert (found.strip_px2[~disputed] == 0).all()
    assert (found.strip_px2 <= faces.pattern_area_px2 + 1e-6).all()
    core_px2 = shapely.area(found.cores).sum()
    disputed_px2 = faces.pattern_area_px2[disputed].sum()
    assert found.strip_px2.sum() + core_px2 == pytest.approx(disputed_px2, rel=1e-6, abs=1e-6)
    wider = boundary_strips(faces, 1.5 * tolerance_px)
    assert wider.strip_px2.sum() >= found.strip_px2.sum() - 0.01 * tolerance_px**2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([4.0, 8.0]))
def test_the_core_is_the_opening_of_a_raster_within_its_error(
    seed: int, tolerance_px: float
) -> None:
    """scipy opens the disputed pixels by the same disc."""
    faces = overlay(layers(seed), extent=(100, 100), background=3)
    found = boundary_strips(faces, tolerance_px)
    disputed = (faces.patterns != faces.patterns[:, :1]).any(axis=1)
    area = shapely.union_all(faces.regions(disputed))
    step = 0.25
    n = round(100 / step)
    x, y = np.meshgrid((np.arange(n) + 0.5) * step, (np.arange(n) + 0.5) * step)
    pixels = np.pad(shapely.contains_xy(area, x, y), 1)
    inside = ndimage.distance_transform_edt(pixels) * step
    eroded = inside >= tolerance_px / 2
    opened = ndimage.distance_transform_edt(~eroded) * step <= tolerance_px / 2
    core_px2 = shapely.area(found.cores).sum()
    error_px2 = step * (area.length + shapely.length(shapely.union_all(found.cores)))
    assert abs((opened & pixels).sum() * step**2 - core_px2) <= error_px2 + 1


def test_tiles_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into many tiles, with parts larger than a tile: the same strips."""
    faces = overlay(layers(5), extent=(100, 100), background=3)
    whole = boundary_strips(faces, 3, threads=1)
    monkeypatch.setattr(boundary, "TILE_VERTICES", 15)
    cut = boundary_strips(faces, 3, threads=2)
    assert len(cut.cores) > len(whole.cores)
    assert cut.strip_px2 == pytest.approx(whole.strip_px2, abs=0.1)


@pytest.mark.parametrize("tolerance_px", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_width_is_refused(tolerance_px: float) -> None:
    with pytest.raises(InputError, match="is no width"):
        boundary_strips(faces_of(box(0, 0, 1, 1), box(0, 0, 1, 2)), tolerance_px)


def test_strips_are_not_asked_about_and_broad_places_stay_whole() -> None:
    """A strip that widens somewhere is one component, and all of it is shown."""
    strip, broad = box(0, 0, 100, 2), box(0, 20, 100, 22).union(box(40, 20, 50, 32))
    faces = faces_of(strip.union(broad), box(150, 150, 160, 160))
    regions = faces.regions()
    found = boundary_strips(faces, 4)
    one = next(r for r in regions if r.intersects(box(1, 1, 2, 1.5)))
    kept = disputed_components(one, boundary=found)
    assert [part.equals(broad) for part in kept.kept] == [True]
    assert kept.dropped_px2 == pytest.approx(strip.area)


@pytest.fixture
def tolerant(
    pathquorum: Callable[..., CommandResult],
    write_export: Callable[..., Path],
    tmp_path: Path,
) -> Callable[..., CommandResult]:
    """Two raters, whose outlines are 2 px (1 um) apart; one of them drew a place of her own."""
    protocol = tmp_path / "tolerant.toml"
    text = PROTOCOL.replace("min_area_um2 = 0", "min_area_um2 = 0\ntolerance_um = 1.5")
    protocol.write_text(text, encoding="utf-8")
    steps: list[tuple[object, ...]] = [
        ("protocol", "add", protocol),
        ("annotator", "add", "P1", "--role", "pathologist"),
        ("annotator", "add", "P2", "--role", "pathologist"),
        ("slide", "add", "S1", "--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", "A"),
    ]

    def drawn(shape: Geometry, name: str) -> dict[str, object]:
        return feature(shape.__geo_interface__, name)

    own = drawn(box(500, 500, 540, 540), "High grade")
    for rater, objects in {
        "P1": [drawn(box(0, 0, 100, 200), "Benign")],
        "P2": [drawn(box(0, 0, 102, 200), "Benign"), own],
    }.items():
        path = write_export(objects, rater)
        steps.append(("pull", path, "--annotator", rater, "--protocol", "prostate"))
    for arguments in steps:
        result = pathquorum(*arguments)
        assert result.status == 0, result.err
    return pathquorum


def test_agreement_reports_both_figures(tolerant: Callable[..., CommandResult]) -> None:
    """With and without strips; without them the two agree perfectly about what is benign."""
    document = tolerant("agreement", "--json").json
    without = document["boundary"]
    assert without["tolerance_um"] == 1.5
    assert without["left_out_um2"] == pytest.approx(2 * 200 * 0.25, rel=0.01)
    assert without["disputed_um2"] == pytest.approx((2 * 200 + 1600) * 0.25, rel=0.01)
    assert document["per_class"]["Benign"]["dice"]["value"] == pytest.approx(40_000 / 40_400)
    assert without["per_class"]["Benign"]["dice"]["value"] == pytest.approx(1.0)
    assert without["domain_um2"] == pytest.approx(document["domain_um2"] - without["left_out_um2"])
    wide = tolerant("agreement", "--json", "--tolerance-um", 30).json["boundary"]
    assert wide["left_out_um2"] == pytest.approx(wide["disputed_um2"])
    assert "boundary" not in tolerant("agreement", "--json", "--tolerance-um", 0).json
    told = tolerant("agreement").out
    assert "Without strips up to 1.5 um wide" in told
    assert "kappa of Benign" in told


def test_strips_are_no_disputes_and_are_counted(tolerant: Callable[..., CommandResult]) -> None:
    """The queue holds the place that one drew alone; the strip is open, and told."""
    run = tolerant("consensus", "run", "--protocol", "prostate", "--json").json
    assert run["disputes"] == 1
    (dispute,) = tolerant("adjudicate", "list", "--json").json["disputes"]
    assert dispute["area_um2"] == pytest.approx(400)
    left = run["open"]["below the dispute's area"]["weight"]
    assert left == pytest.approx(2 * 200 * 0.25)


def test_a_tolerance_needs_regions_in_a_store(
    tolerant: Callable[..., CommandResult], tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("item,rater,label\n1,a,x\n1,b,x\n")
    refused = tolerant("agreement", "--table", table, "--tolerance-um", 2)
    assert refused.status == 1
    assert "--tolerance-um is about the store's regions" in refused.err


def test_the_report_shows_figures_with_and_without_strips(
    tolerant: Callable[..., CommandResult], tmp_path: Path
) -> None:
    assert tolerant("consensus", "run", "--protocol", "prostate").status == 0
    assert tolerant("report", "--to", tmp_path / "report.html").status == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Without strips along boundaries" in page
    assert "no disc of 1.5 µm across" in page
    assert page.count("Kappa of Benign") == 1
