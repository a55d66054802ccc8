"""What a pull refuses leaves the store as it was, and what gates a read excludes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from annotation.store import Store
from tests.annotation.pulling import (
    PULL,
    Study,
    WriteExport,
    assert_refused,
    only_read,
    rows,
    three,
)
from tests.conftest import feature, square
from tests.signing import make_key


def test_losing_more_than_half_is_refused_until_it_is_accepted(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    few = write_export(three()[:1])
    assert_refused(study, store, few, "2 of 3 objects of read 1 are gone")
    assert_refused(study, store, write_export([]), "--accept-removals")
    few = write_export(three()[:1])
    read = only_read(study("pull", few, *PULL, "--accept-removals", "--json"))
    assert (read["removed"], read["unchanged"]) == (2, 1)


def test_strict_refuses_what_has_a_faulty_object(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    path = write_export([*three(), feature(None, "Benign")])
    assert_refused(study, store, path, "--strict refuses 1 of 4", *PULL, "--strict")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"type": "FeatureCollection", "features": [{"type": "Fea', "S1.geojson"),
        (b"", "S1.geojson"),
        (b"not json", "S1.geojson"),
        (b'{"pathClasses": []}', "GeoJSON"),
        (b"[1, 2, 3]", "S1.geojson"),
        (b"\x80\x81", "S1.geojson"),
        (b'{"type": "FeatureCollection", "features": 3}', "S1.geojson"),
        (b"[" * 100_000, "S1.geojson"),
    ],
    ids=["truncated", "empty", "no json", "classes", "numbers", "bytes", "features", "nested"],
)
def test_a_faulty_file_is_refused(
    study: Study, store: Store, tmp_path: Path, content: bytes, match: str
) -> None:
    path = tmp_path / "S1.geojson"
    path.write_bytes(content)
    assert_refused(study, store, path, match)


def test_names_that_nobody_knows_are_refused(
    study: Study, store: Store, write_export: WriteExport, tmp_path: Path
) -> None:
    path = write_export(three())
    assert_refused(study, store, path, "P9", "--annotator", "P9", "--protocol", "prostate")
    assert_refused(
        study, store, path, "(near: prostate)", "--annotator", "P1", "--protocol", "prostat"
    )
    assert_refused(study, store, write_export(three(), slide="S7"), "no slide is named 'S7'")
    assert_refused(study, store, tmp_path / "none.geojson", "there is no")


def test_most_objects_outside_means_the_wrong_slide(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    far = [feature(square(5000 + i, 5000), "Benign") for i in range(3)]
    assert_refused(study, store, write_export([*far, *three()[:2]]), "wrong slide?")
    read = only_read(study("pull", write_export([*far, *three()]), *PULL, "--json"))
    assert read["rejected"] == 3


def test_every_object_rejected_is_refused(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    assert_refused(
        study, store, write_export([feature(None, "Benign")]), "every object was rejected"
    )


def test_a_file_of_somebody_else_is_refused_until_it_is_accepted(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    path = write_export(three())
    study("pull", path, *PULL)
    other = ("--annotator", "P2", "--protocol", "prostate")
    assert_refused(study, store, path, "pulled already for annotator 'P1'", *other)
    read = only_read(study("pull", path, *other, "--accept-copy", "--json"))
    assert read["added"] == 3
    assert read["copied"] == []  # the same UUIDs: objects handed out to be labelled


def test_one_bad_file_of_a_folder_stops_the_whole_pull(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    study("slide", "add", "S2", "--width", 1000, "--height", 800, "--mpp", 0.5)
    write_export(three(), slide="S1")
    bad = write_export([], slide="S2")
    bad.write_text("{")
    assert_refused(study, store, bad.parent, "S2.geojson")


DECLARED = """
name = "declared"
version = "1"
task = "regions"
[[classes]]
name = "Benign"
"""


def test_without_a_domain_object_a_declared_read_is_refused(
    study: Study, store: Store, write_export: WriteExport, tmp_path: Path
) -> None:
    (tmp_path / "declared.toml").write_text(DECLARED)
    study("protocol", "add", tmp_path / "declared.toml")
    declared = ("--annotator", "P1", "--protocol", "declared")
    assert_refused(study, store, write_export(three()), "'Region*'", *declared)
    assert_refused(study, store, write_export([]), "'Region*'", *declared)
    objects = [feature(square(0, 0, 250), "Region*"), *three()]
    result = study("pull", write_export(objects), *declared)
    assert "2 with a class the protocol doesn't know" in result.out
    objects = [feature(square(0, 0, 250), "Region*"), feature(square(600, 10), "Benign")]
    result = study("pull", write_export(objects, "P2"), "--annotator", "P2", *declared[2:])
    assert "1 outside your region." in result.out


GATED = (
    DECLARED.replace('"declared"', '"gated"')
    + '[domain]\nrule = "slide"\n'
    + ('[require]\ncredentials = ["board"]\n')
)


def test_a_credential_out_of_force_keeps_the_read_and_excludes_it(
    study: Study, write_export: WriteExport, tmp_path: Path
) -> None:
    (tmp_path / "gated.toml").write_text(GATED)
    study("protocol", "add", tmp_path / "gated.toml")
    term = ("--valid-from", "2025-01-01", "--valid-to", "2025-12-31")
    study("annotator", "add", "P1", "--role", "pathologist", "--credential", "board:X:1", *term)
    gated = ("--annotator", "P1", "--protocol", "gated", "--json")
    read = only_read(study("pull", write_export(three()), *gated, "--read-date", "2026-03-02"))
    assert read["added"] == 3
    assert read["excluded"] == "credential 'board' not in force on 2026-03-02"
    result = study("consensus", "run", "--protocol", "gated")
    assert result.status == 1
    assert "not in force" in result.err
    assert "not in force" in study("status").out
    read = only_read(study("pull", write_export(three()), *gated, "--read-date", "2025-06-01"))
    assert read["excluded"] is None


def test_a_required_signature_is_asked_for(
    study: Study, store: Store, write_export: WriteExport, tmp_path: Path
) -> None:
    text = GATED.replace('credentials = ["board"]', "signature = true")
    (tmp_path / "gated.toml").write_text(text)
    study("protocol", "add", tmp_path / "gated.toml")
    gated = ("--annotator", "P1", "--protocol", "gated")
    assert_refused(study, store, write_export(three()), "protocol sign gated --version 1", *gated)
    sign = ("protocol", "sign", "gated", "--version", "1", "--by", "L")
    assert study(*sign, *make_key(study, "L", tmp_path)).status == 0
    assert study("pull", write_export(three()), *gated).status == 0


def test_an_unsigned_protocol_can_be_used_and_says_so(
    study: Study, write_export: WriteExport
) -> None:
    result = study("pull", write_export(three()), *PULL)
    assert "protocol prostate version 1 is not signed" in result.err


LATER = [pytest.param(delay_s, marks=pytest.mark.soak) for delay_s in (0.3, 0.9, 1.5)]


@pytest.mark.parametrize("delay_s", [0.6, 1.2, *LATER])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_stopped_leaves_all_or_nothing(
    study: Study,
    store: Store,
    store_url: str,
    write_export: WriteExport,
    delay_s: float,
    how: signal.Signals,
) -> None:
    count = 8000
    objects = [feature(square(i % 800, i // 800, 20), "Benign") for i in range(count)]
    path = write_export(objects)
    code = "import sys; from annotation.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pull", path, *PULL, "--store", store_url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    time.sleep(delay_s)
    process.send_signal(how)
    process.wait(timeout=60)
    stored = rows(store)
    assert (stored["revisions"], stored["pulls"], stored["pull_reads"]) in (
        (0, 0, 0),
        (count, 1, 1),
    )
    assert study("audit", "verify").status == 0
