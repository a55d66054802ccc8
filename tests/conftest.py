"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import make_url

from annotation.cli import run
from annotation.store import Store, create_or_upgrade, open_store
from annotation.stores.moving import copy_store
from tests.postgresql import Server, Unavailable, running_server

# Machines are shared and noisy: no test is a timed one. Where a failure would block somebody else's
# work, examples are the same each time; everywhere else each run looks at new ones.
settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests skip where it is absent."""
    folder = PROJECT_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder.parent.name}/{folder.name} beside the project")
    return folder


@dataclass
class CommandResult:
    """What a command line gave back."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


DATABASE_VARIABLE = "PATHQUORUM_TEST_DATABASE"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Stores are SQLite, or what the variable says; tests marked so see both in any case."""
    if "database" not in metafunc.fixturenames:
        return
    chosen = os.environ.get(DATABASE_VARIABLE, "sqlite")
    marks = [mark.name for mark in metafunc.definition.iter_markers()]
    if "sqlite" in marks:
        databases = ["sqlite"]
    elif "both_databases" in marks:
        databases = [chosen, *({"sqlite", "postgresql"} - {chosen})]
    else:
        databases = [chosen]
    metafunc.parametrize("database", databases, indirect=True, ids=databases)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long forms run where they are asked for by `-m soak`."""
    if "soak" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in long]
    if long:
        config.hook.pytest_deselected(items=long)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database that this test's stores have."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process."""
    try:
        with running_server() as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgresql_template(postgresql: Server) -> str:
    """A database with a fresh store, of which each test gets a copy."""
    name = postgresql.create()
    create_or_upgrade(postgresql.url(name))[0].close()
    return name


@pytest.fixture(scope="session")
def postgresql_study(postgresql: Server, postgresql_template: str) -> str:
    """A database with the study, of which each test that begins with it gets a copy."""
    name = postgresql.create(postgresql_template)
    _set_up_study(postgresql.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a fresh store, of which each test gets a copy."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    create_or_upgrade(f"sqlite:///{path}")[0].close()
    return path


@pytest.fixture(scope="session")
def sqlite_study(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """A file with the study, of which each test that begins with it gets a copy."""
    path = tmp_path_factory.mktemp("study") / "store.db"
    shutil.copyfile(sqlite_template, path)
    _set_up_study(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty_database(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """Makes the URL of a database in which nothing is yet."""
    if database == "sqlite":
        numbers = count()
        yield lambda: f"sqlite:///{tmp_path / f'empty{next(numbers)}.db'}"
        return
    server: Server = request.getfixturevalue("postgresql")
    names: list[str] = []

    def make() -> str:
        names.append(server.create())
        return server.url(names[-1])

    yield make
    for name in names:
        server.drop(name)


@pytest.fixture
def store_url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store of the test's own: a fresh one, or with the study where that is asked for."""
    begun = "study" if "made_study" in request.fixturenames else "template"
    if database == "sqlite":
        path = tmp_path / "store.db"
        shutil.copyfile(request.getfixturevalue(f"sqlite_{begun}"), path)
        yield f"sqlite:///{path}"
        return
    server: Server = request.getfixturevalue("postgresql")
    name = server.create(request.getfixturevalue(f"postgresql_{begun}"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="session")
def databases_of_files() -> dict[Path, str]:
    """The database that each file with a store was copied into, for :func:`replace_store`."""
    return {}


@pytest.fixture
def replace_store(
    store_url: str, databases_of_files: dict[Path, str], request: pytest.FixtureRequest
) -> Callable[[Path], None]:
    """Puts a copy of a store, which is a file that stays as it is, in the place of the fresh one."""

    def replace(path: Path) -> None:
        if store_url.startswith("sqlite"):
            shutil.copyfile(path, store_url.removeprefix("sqlite:///"))
            return
        server: Server = request.getfixturevalue("postgresql")
        if path not in databases_of_files:
            databases_of_files[path] = server.create()
            copy_store(f"sqlite:///{path}", server.url(databases_of_files[path]))
        name = str(make_url(store_url).database)
        server.drop(name)
        server.create(databases_of_files[path], name=name)

    return replace


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A fresh store, open."""
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def pathquorum(
    store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CommandResult]:
    """Runs a command line on the fresh store, as the console script does."""
    monkeypatch.setenv("PATHQUORUM_STORE", store_url)

    def call(*arguments: object) -> CommandResult:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return CommandResult(status, captured.out, captured.err)

    return call


@pytest.fixture
def readme_program() -> Callable[[str], None]:
    """Runs the README's programs on an export of the trail in the present folder, by its name."""
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    verify, from_table = (compile(program, "README.md", "exec") for program in programs)

    def run_on(name: str) -> None:
        if name == "trail.csv":
            exec(from_table, {})
        exec(verify, {})

    return run_on


STUDY_PROTOCOL = "prostate.toml"

PROTOCOL = """
name = "prostate"
version = "1"
task = "regions"
weights = "quadratic"
[domain]
rule = "slide"
[dispute]
min_area_um2 = 0
[[classes]]
name = "Benign"
order = 0
color = "#00A000"
aliases = ["Normal"]
[[classes]]
name = "Low grade"
order = 1
color = "#FFA000"
[[classes]]
name = "High grade"
order = 2
color = "#C00000"
"""


@pytest.fixture
def made_study() -> None:
    """Says to `store_url` that the store begins with the study."""


@pytest.fixture
def study(
    made_study: None, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> Callable[..., CommandResult]:
    """A study with a protocol, three pathologists, a lead and a slide of 1000 x 800 px."""
    (tmp_path / STUDY_PROTOCOL).write_text(PROTOCOL, encoding="utf-8")
    return pathquorum


def _set_up_study(url: str) -> None:
    """Make the study, by the commands that a study lead types."""
    with tempfile.TemporaryDirectory() as folder:
        protocol = Path(folder) / STUDY_PROTOCOL
        protocol.write_text(PROTOCOL, encoding="utf-8")
        for arguments in (
            ["protocol", "add", str(protocol)],
            *(f"annotator add {name} --role pathologist".split() for name in ("P1", "P2", "P3")),
            ["annotator", "add", "L", "--role", "lead"],
            [
                "slide",
                "add",
                "S1",
                "--width",
                "1000",
                "--height",
                "800",
                "--mpp",
                "0.5",
                "--patient",
                "A",
            ],
        ):
            assert run([*arguments, "--store", url]) == 0, arguments


def square(x: float, y: float, side: float = 100) -> dict[str, Any]:
    """A GeoJSON square."""
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(
    geometry: dict[str, Any] | None, path_class: str | None = None, **members: Any
) -> dict[str, Any]:
    """A QuPath annotation as a GeoJSON feature, its UUID derived from what it holds."""
    properties: dict[str, Any] = {"objectType": "annotation", **members.pop("properties", {})}
    if path_class is not None:
        properties["classification"] = {"name": path_class, "color": [1, 2, 3]}
    key = json.dumps([geometry, path_class, members], sort_keys=True)
    made = {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, key)),
        "geometry": geometry,
        "properties": properties,
    }
    return {**made, **members}


def export(folder: Path, features: Iterable[dict[str, Any]], rater: str, slide: str = "S1") -> Path:
    """Write features as an export; the file is named after the slide, in a folder a rater."""
    path = folder / rater / f"{slide}.geojson"
    path.parent.mkdir(exist_ok=True)
    document = {"type": "FeatureCollection", "features": list(features)}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture
def write_export(tmp_path: Path) -> Callable[..., Path]:
    """Writes features as an export of S1, or another slide, into the test's folder."""

    def write(features: Iterable[dict[str, Any]], rater: str = "P1", slide: str = "S1") -> Path:
        return export(tmp_path, features, rater, slide)

    return write
