"""Models on record: once, for good, and found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from annotation.errors import ConflictError, InputError, UnknownNameError
from annotation.store import Store
from consensus.provenance.trace import trace
from consensus.release import find_release
from models.registry import find_model, register_model, require_free
from tests.conftest import CommandResult
from tests.consensus.built_run import build_run, region_items
from tests.models.test_model_file import DESCRIPTION

pytestmark = pytest.mark.both_databases

DESCRIBED = msgspec.structs.replace(DESCRIPTION, weights_sha256="c" * 64)


@pytest.fixture
def registered(store: Store, pathquorum: Callable[..., CommandResult], tmp_path: Path) -> Store:
    """A store with a release `v1` and the models `base` and `m`."""
    run = build_run(store, region_items(), slides={"A": {"patient": "p"}})
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=1")
    assert made.status == 0, made.err
    with store.writing() as session:
        release = find_release(session, "v1")
        base = register_model(session, "base", release, DESCRIBED, tmp_path / "base")
        other = msgspec.structs.replace(DESCRIBED, weights_sha256="d" * 64)
        register_model(session, "m", release, other, tmp_path / "m", baseline=base)
    return store


def test_a_model_is_found_by_its_name_and_traced_to_its_release(registered: Store) -> None:
    with registered.reading() as session:
        model = find_model(session, "m")
        assert (model.method, model.manifest_sha256) == ("soft", "b" * 64)
        assert Path(model.folder).name == "m"
        for identifier in ("m", "model:m", "d" * 64, "D" * 64):
            found = trace(session, identifier)
            assert (found["kind"], found["model"]["model"]) == ("model", "m")
            assert found["model"]["baseline"] == "base"
            assert found["release"]["release"] == "v1"
            assert found["run"]["run"] == 1
        with pytest.raises(UnknownNameError, match=r"no model 'bas' \(near: base\); train one"):
            find_model(session, "bas")
        with pytest.raises(UnknownNameError, match="a model's name or weights SHA-256"):
            trace(session, "model:v1")


@pytest.mark.parametrize("name", ["m", " "])
def test_a_name_is_given_once_and_is_no_blank(registered: Store, name: str) -> None:
    with registered.reading() as session, pytest.raises((ConflictError, InputError)):
        require_free(session, name)


@pytest.mark.parametrize("change", ["UPDATE models SET method = 'x'", "DELETE FROM models"])
def test_what_is_on_record_stays(registered: Store, change: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), registered.engine.begin() as connection:
        connection.execute(text(change))


def test_it_is_in_the_trail_in_a_backup_and_in_a_copy(
    registered: Store,
    pathquorum: Callable[..., CommandResult],
    empty_database: Callable[[], str],
    store_url: str,
    tmp_path: Path,
) -> None:
    assert pathquorum("audit", "verify", "--json").json["ok"]
    assert pathquorum("store", "check").status == 0
    backup, restored, copied = tmp_path / "b.zip", empty_database(), empty_database()
    for arguments in (
        ("store", "backup", backup),
        ("store", "restore", backup, "--store", restored),
        ("store", "copy", store_url, copied),
    ):
        result = pathquorum(*arguments)
        assert result.status == 0, result.err
    here = pathquorum("trace", "m", "--json").json
    assert here == pathquorum("trace", "m", "--store", restored, "--json").json
    assert here == pathquorum("trace", "m", "--store", copied, "--json").json
