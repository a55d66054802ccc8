"""Every export of QuPath among the real files pulls, and its objects add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.errors import SourceError
from annotation.people import add_annotator
from annotation.protocol import parse_protocol
from annotation.protocol_versions import add_protocol
from annotation.pull import PullRequest, pull
from annotation.revisions import revisions_in_force
from annotation.sources import open_sources
from annotation.store import Store
from annotation.study import add_slide_without_image
from annotation.tables import Read
from tests.conftest import PROJECT_ROOT

DATA = PROJECT_ROOT.parent / "shared" / "data" / "qupath"
EXPORTS = (
    "lmd/*.geojson",
    "wsidicom/tests/testdata/annotation/qupath_geojson/*.json",
    "wsidicom/tests/testdata/annotation/qupath_geojson_advanced/*.json",
    "wsidicom_history/*.json",
    "wsireg/tests/fixtures/*.geojson",
    "dlup/tests/files/*.geojson",
    "qupath_core/qupath-core/src/test/resources/data/*.geojson",
)
# Annotations of other programs, and QuPath's other files.
STRANGERS = (
    "lmd/*classes.json",
    "lmd/*summary.json",
    "lmd/*server.json",
    "wsidicom/tests/testdata/annotation/cytomine/*.txt",
    "wsidicom/tests/testdata/annotation/sectra/*.json",
    "wsidicom/tests/testdata/annotation/asap/*.xml",
)
PROTOCOL = """
name = "any"
version = "1"
task = "objects"
[[classes]]
name = "Tumor"
"""


def found(patterns: tuple[str, ...]) -> list[Path]:
    paths = (path for pattern in patterns for path in DATA.glob(pattern))
    return sorted({path for path in paths if path.is_file()})


def name_of(path: Path) -> str:
    return str(path.relative_to(DATA))


def needs(patterns: tuple[str, ...]) -> list[Any]:
    """The files as parameters; where they are absent, one that skips and says why."""
    paths = found(patterns)
    if not paths:
        reason = "needs the real data in shared/data beside the project"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(path, id=name_of(path)) for path in paths]


@pytest.fixture
def ready(store: Store) -> Store:
    """A store with a large slide and an annotator."""
    with store.writing() as session:
        add_protocol(session, parse_protocol(PROTOCOL, "any"))
        add_annotator(session, "P1", "pathologist")
        add_slide_without_image(session, "S", width_px=400_000, height_px=400_000, mpp=0.25)
    return store


def request(path: Path) -> PullRequest:
    return PullRequest(sources=open_sources(path), annotator="P1", protocol="any", slide="S")


def features_of(path: Path) -> int:
    document = json.loads(path.read_bytes())
    if isinstance(document, list):
        return len(document)
    return len(document["features"]) if "features" in document else 1


@pytest.mark.parametrize("path", needs(EXPORTS))
def test_an_export_pulls_and_its_objects_add_up(ready: Store, path: Path) -> None:
    (read,) = pull(ready, request(path)).reads
    changes = read.changes
    counted = changes.added + changes.changed + changes.unchanged + changes.rejected + changes.ours
    assert changes.objects == counted == features_of(path)
    assert changes.rejected == len(changes.rejections)
    assert all(rejection.reason for rejection in changes.rejections)
    assert changes.added > 0
    with ready.reading() as session:
        reads = session.scalars(select(Read.id)).all()
        assert len(list(revisions_in_force(session, reads))) == changes.added
    (again,) = pull(ready, request(path)).reads
    assert again.changes.unchanged == changes.added
    assert again.changes.added == again.changes.changed == again.changes.removed == 0


@pytest.mark.parametrize("path", needs(STRANGERS))
def test_a_file_of_another_kind_is_refused_by_name(ready: Store, path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        request(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_among_the_real_exports_is_rejected_without_a_cause(
    ready: Store, shared_data: Path
) -> None:
    """What real QuPath projects exported comes in whole."""
    rejected = {}
    for path in found(EXPORTS):
        (read,) = pull(ready, PullRequest(**{**vars(request(path)), "accept_removals": True})).reads
        if read.changes.rejected:
            rejected[path.name] = [r.reason for r in read.changes.rejections]
    assert rejected == {}
