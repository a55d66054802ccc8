"""`doctor` says what is found, what each lack costs, and nothing that should not be passed on."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openslide
import pytest

from annotation.doctor import examine
from annotation.errors import StoreUnavailableError
from tests.conftest import CommandResult

Pathquorum = Callable[..., CommandResult]


def test_doctor_says_what_each_missing_piece_costs(
    pathquorum: Pathquorum, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a machine without QuPath, torch and a store; a password is never shown."""
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("COLUMNS", "140")
    url = "postgresql://lead:secret@localhost:1/study"
    result = pathquorum("doctor", "--store", url, "--json")
    checks = {check["what"]: check for check in result.json["checks"]}
    assert (result.status, result.json["ok"]) == (0, True)
    assert checks["shapely"]["found"]
    assert checks["shapely"]["costs"] == ""
    assert not checks["QuPath"]["found"]
    assert "GeoJSON exports work" in checks["QuPath"]["costs"]
    assert not checks["store"]["found"]
    assert "secret" not in result.out + result.err
    table = pathquorum("doctor", "--store", url)
    assert "what its lack costs" in table.out
    assert "secret" not in table.out + table.err
    assert "localhost" not in table.out + table.err + result.out


def test_doctor_fails_where_something_needed_is_missing(
    pathquorum: Pathquorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "openslide" else find(name, *more),
    )
    monkeypatch.setattr("annotation.doctor._qupath", list)
    result = pathquorum("doctor", "--json")
    assert (result.status, result.json["ok"]) == (1, False)


def test_packages_of_extras_are_looked_for_without_importing_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each with what its lack costs, which nobody is told who has it."""
    import importlib.util

    names = {
        "timm": "timm",
        "h5py": "h5py",
        "safetensors": "safetensors",
        "simplejpeg": "simplejpeg",
        "segmentation-models-pytorch": "segmentation_models_pytorch",
        "pyarrow": "pyarrow",
    }
    monkeypatch.setattr("annotation.doctor._qupath", list)
    for module in names.values():
        monkeypatch.delitem(sys.modules, module, raising=False)
    there = {check.what: check for check in examine("sqlite:///nowhere.db")}
    assert not set(names.values()) & set(sys.modules)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name in names.values() else find(name, *more),
    )
    gone = {check.what: check for check in examine("sqlite:///nowhere.db")}
    for name, module in names.items():
        if find(module) is not None:
            assert (there[name].found, there[name].costs) == (True, "")
            assert re.match(r"\d+\.", there[name].version)
        assert not gone[name].found
        assert not gone[name].required
        assert len(gone[name].costs) > 20


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """The checks by name, without those that start Java."""
    monkeypatch.setattr("annotation.doctor._qupath", list)
    return lambda url: {check.what: check for check in examine(url)}


def newest_migration() -> str:
    import migrations.versions

    folder = Path(str(migrations.versions.__file__)).parent
    return max(path.name[:4] for path in folder.glob("0*.py"))


@pytest.mark.sqlite
def test_the_store_says_its_schema_kind_and_size(
    checks: Callable[[str], dict[str, Any]], store_url: str
) -> None:
    file = Path(store_url.removeprefix("sqlite:///"))
    found = checks(store_url)["store"]
    newest = newest_migration()
    assert (found.found, found.version) == (True, newest)
    assert found.detail == (
        f"SQLite {file} of {file.stat().st_size:,} bytes, schema {newest}, {newest} is expected"
    )


@pytest.mark.sqlite
def test_an_older_store_says_which_schema_it_has_and_which_is_expected(
    checks: Callable[[str], dict[str, Any]], store_url: str
) -> None:
    file = store_url.removeprefix("sqlite:///")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    found = checks(store_url)["store"]
    assert not found.found
    assert re.match(rf"SQLite .* bytes, schema {newest_migration()} is expected: ", found.detail)
    assert "has the schema 0001" in found.detail


def test_what_is_no_store_is_told_by_its_kind(
    checks: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    missing = checks(f"sqlite:///{tmp_path / 'none.db'}")["store"]
    assert missing.detail.startswith(f"SQLite {tmp_path / 'none.db'}, schema ")
    assert checks("no url with secret")["store"].detail.startswith("no database URL, schema ")


@pytest.mark.parametrize("driver_spoke", [True, False])
def test_a_server_is_told_without_its_address_and_user(
    checks: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, driver_spoke: bool
) -> None:
    from sqlalchemy.exc import OperationalError

    url = "postgresql+psycopg://lead:secret@db.hospital.example:5433/study"
    shown = url.replace("secret", "***")

    def refuse(_url: str) -> None:
        cause = OperationalError("", {}, Exception("at db.hospital.example as lead"))
        raise StoreUnavailableError(f"the store {shown} has a fault", store=shown) from (
            cause if driver_spoke else None
        )

    monkeypatch.setattr("annotation.doctor.open_store", refuse)
    found = checks(url)["store"]
    assert found.detail.startswith(f"PostgreSQL, schema {newest_migration()} is expected: ")
    assert "hospital" not in found.detail
    assert "lead" not in found.detail
    assert ("has a fault" in found.detail) is not driver_spoke


def test_openslide_says_which_library_it_is(
    checks: Callable[[str], dict[str, Any]], store_url: str
) -> None:
    found = checks(store_url)["openslide-python"]
    assert (found.found, found.costs) == (True, "")
    assert found.detail == f"OpenSlide library {openslide.__library_version__}"


def test_openslide_whose_library_does_not_load_is_missing_and_says_why(
    pathquorum: Pathquorum, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "openslide").mkdir()
    (tmp_path / "openslide" / "__init__.py").write_text(
        "raise OSError('libopenslide.so.1: cannot open\\nshared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openslide")
    monkeypatch.setattr("annotation.doctor._qupath", list)
    result = pathquorum("doctor", "--json")
    assert (result.status, result.json["ok"]) == (1, False)
    (found,) = (c for c in result.json["checks"] if c["what"] == "openslide-python")
    assert not found["found"]
    assert found["detail"] == (
        "can't be imported: OSError: libopenslide.so.1: cannot open shared object file"
    )
    assert found["costs"].startswith("slides can't be read")
