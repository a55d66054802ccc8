"""A store with a row in nearly every table, and names that are no ASCII."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.store import open_store
from annotation.tables import Identity
from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]


def done(result: CommandResult) -> CommandResult:
    assert result.status == 0, result.err
    return result


@pytest.fixture
def worked(
    study: Study, store_url: str, write_export: Callable[..., Path], tmp_path: Path
) -> Study:
    """Reads of two slides, one corrected; a run, a decision, a release, a push, a person's name."""
    done(study("annotator", "add", "Ærø 🦠", "--role", "senior", "--credential", "board:KBV:12"))
    size = ("--width", 1000, "--height", 800, "--mpp", 0.25)
    done(study("slide", "add", 'S "2"; DROP', *size, "--patient", "ß", "--site", "Zürich"))
    for handle, label in (("P1", "Benign"), ("P2", "High grade"), ("P1", "Low grade")):
        drawn = [feature(square(0, 0), label), feature(square(300, 0), "Benign", name="日本\n\t")]
        named = ("--annotator", handle, "--protocol", "prostate", "--accept-removals")
        done(study("pull", write_export(drawn, handle), *named))
    done(study("consensus", "run", "--protocol", "prostate"))
    done(study("adjudicate", "decide", 1, "--class", "Benign", "--by", "L", "--reason", "=A1"))
    done(study("release", "create", "first", "--run", 1))
    done(study("push", "--run", 1, "--to", tmp_path / "pushed"))
    store = open_store(store_url)
    with store.writing() as session:
        session.add(Identity(annotator_id=1, full_name="Ada L.", email="ada@example.org"))
    store.close()
    return study
