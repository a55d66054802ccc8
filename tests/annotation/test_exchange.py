"""New data of a project takes its place all at once, whenever whoever does it is killed."""

from __future__ import annotations

import hashlib
import json
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from annotation.errors import RefusedError, SourceError
from annotation.projects import exchange
from annotation.projects.exchange import Exchange
from annotation.projects.folder_exchange import exchange_names
from annotation.projects.recovery import HIDDEN, recover

OLD = {"1/data.qpdata": b"old one", "1/summary.json": b"1", "2/data.qpdata": b"old two"}
STAYS = {"1/thumbnail.jpg": b"picture", "3/data.qpdata": b"another's"}
NEW = {"1/data.qpdata": b"new one!", "1/summary.json": b"2", "2/data.qpdata": b"new two!", "4/data.qpdata": b"four"}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "data", {**OLD, **STAYS})
    path = tmp_path / "project.qpproj"
    path.write_text("{}")
    return path


@pytest.fixture(params=["at once", "one by one", "no hard links"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the system lets folders be exchanged."""
    if request.param == "one by one":
        monkeypatch.setattr(exchange, "exchange_names", lambda one, other: False)
    if request.param == "no hard links":
        monkeypatch.setattr("os.link", refuse)
    return str(request.param)


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "no hard links here")


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def content(project: Path) -> dict[str, bytes]:
    data = project.parent / "data"
    return {p.relative_to(data).as_posix(): p.read_bytes() for p in data.rglob("*") if p.is_file()}


def test_new_files_come_in_and_the_others_stay(project: Path, way: str) -> None:
    change = Exchange(project, NEW)
    change.stage()
    assert content(project) == {**OLD, **STAYS}
    change.commit()
    change.clear()
    assert content(project) == {**STAYS, **NEW}
    assert not (project.parent / HIDDEN).exists()


def test_undone_everything_is_as_it_was(project: Path, way: str) -> None:
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    change.undo()
    assert content(project) == {**OLD, **STAYS}
    assert not (project.parent / HIDDEN).exists()


def test_links_in_the_data_stay_links(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, {"big.tiff": b"pixels"})
    (tmp_path / "data/3/images").symlink_to(elsewhere)
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    change.clear()
    assert (tmp_path / "data/3/images").is_symlink()
    assert (tmp_path / "data/3/images/big.tiff").read_bytes() == b"pixels"


def test_what_reads_back_otherwise_is_put_back(
    project: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Exchange(project, NEW)
    change.stage()
    (project.parent / HIDDEN / "new/2/data.qpdata").write_bytes(b"damaged")
    with pytest.raises(RefusedError, match="what was there is there"):
        change.commit()
    assert content(project) == {**OLD, **STAYS}


def test_a_disk_that_fails_half_way_leaves_the_old_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "exchange_names", lambda one, other: False)
    replace, calls = Path.replace, []

    def fails_later(path: Path, target: Path) -> Path:
        if target.parent.parent.name == "data":
            calls.append(path)
            if len(calls) == 3:
                raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fails_later)
    change = Exchange(project, NEW)
    change.stage()
    with pytest.raises(RefusedError, match="No space left"):
        change.commit()
    assert len(calls) > 3
    assert content(project) == {**OLD, **STAYS}


def test_a_journal_that_cannot_be_read_is_named_and_nothing_removed(project: Path) -> None:
    write(project.parent / HIDDEN, {"journal.json": b"{cut", "old/1/data.qpdata": b"old one"})
    with pytest.raises(SourceError, match="put them back by hand"):
        recover(project)
    assert (project.parent / HIDDEN / "old/1/data.qpdata").exists()


def test_a_journal_reaches_no_file_outside_the_data(project: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    write(
        tmp_path / HIDDEN,
        {
            "journal.json": json.dumps(
                {"../precious": {"was": None, "now": digest(b"mine")}}
            ).encode()
        },
    )
    assert recover(project).anything
    assert (tmp_path / "precious").read_bytes() == b"mine"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_was_saved_between_linking_and_exchange_is_found_and_stays(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in a file that is replaced, once in another, once in a new one."""
    for name in ("1/data.qpdata", "3/data.qpdata", "2/data.qpdata.bkp"):
        saved: list[str] = []

        def saved_first(one: Path, other: Path, name: str = name, saved: list[str] = saved) -> bool:
            if not saved:
                (other / "saving").write_bytes(b"a person's")
                (other / "saving").replace(other / name)
                saved.append(name)
            return exchange_names(one, other)

        monkeypatch.setattr(exchange, "exchange_names", saved_first)
        before = content(project)
        change = Exchange(project, NEW)
        change.stage()
        with pytest.raises(RefusedError, match="was saved by somebody else"):
            change.commit()
        assert content(project) == {**before, name: b"a person's"}
        assert not (project.parent / HIDDEN).exists()


def test_what_was_saved_on_top_of_a_push_that_is_undone_stays(project: Path) -> None:
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    write(project.parent / "data", {"1/data.qpdata": b"mine", "1/summary.json": b"3"})
    change.undo()
    assert content(project) == {**OLD, **STAYS, "1/data.qpdata": b"mine", "1/summary.json": b"3"}


def test_what_was_saved_after_a_push_was_stopped_is_not_written_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped half-way, file by file: the image saved since stays, the other goes back."""
    monkeypatch.setattr(exchange, "exchange_names", lambda one, other: False)
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    write(project.parent / "data", {"1/data.qpdata": b"mine", "1/summary.json": b"3"})
    left = recover(project)
    assert left.saved == ("1",)
    assert content(project) == {**OLD, **STAYS, "1/data.qpdata": b"mine", "1/summary.json": b"3"}


def test_a_save_at_the_moment_of_an_exchange_that_was_stopped_comes_back(project: Path) -> None:
    """Killed right after the exchange: the old folder holds what a person saved just before it."""
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    hidden = project.parent / HIDDEN
    write(hidden / "whole", {"2/data.qpdata": b"mine"})
    left = recover(project)
    assert left.saved == ("2",)
    assert content(project) == {**STAYS, **NEW, "2/data.qpdata": b"mine"}


def test_who_may_read_and_write_stays_as_it_was(project: Path, way: str) -> None:
    data = project.parent / "data"
    for path, mode in ((data, 0o2770), (data / "1", 0o2775), (data / "1/data.qpdata", 0o660)):
        path.chmod(mode)
    change = Exchange(project, NEW)
    change.stage()
    change.commit()
    change.clear()
    modes = {p: stat.S_IMODE((data / p).stat().st_mode) for p in ("", "1", "1/data.qpdata")}
    assert modes == {"": 0o2770, "1": 0o2775, "1/data.qpdata": 0o660}


LOOP = """
import sys
from pathlib import Path
from annotation.projects import exchange, recovery
from tests.annotation.test_exchange import NEW, OLD
project = Path(sys.argv[1])
if sys.argv[2] == "one by one":
    exchange.exchange_names = lambda one, other: False
states = [{**OLD, "4/data.qpdata": b"before"}, NEW]
turn = int(sys.argv[3])
recovery.recover(project)
print("ready", flush=True)
while True:
    change = exchange.Exchange(project, states[turn % 2])
    change.stage()
    change.commit()
    change.clear()
    turn += 1
"""


@pytest.mark.parametrize("moments", [25, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["at once", "one by one"])
def test_killed_at_random_moments_there_is_the_old_state_or_the_new(
    project: Path, kind: str, moments: int
) -> None:
    """Where folders can't be exchanged, once the next run has put back what was half-way."""
    rng = random.Random(11)
    states = [{**STAYS, **OLD, "4/data.qpdata": b"before"}, {**STAYS, **NEW}]
    write(project.parent / "data", states[0])
    seen = set()
    for moment in range(moments):
        turn = states.index(content(project)) + 1
        running = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(project), kind, str(turn)], stdout=subprocess.PIPE
        )
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, 0.02))
        running.kill()
        running.wait()
        running.stdout.close()
        left = (project.parent / HIDDEN).exists()
        if kind == "one by one":
            recover(project)
        now = content(project)
        assert now in states, f"moment {moment}: {sorted(now)}"
        seen.add((states.index(now), left))
        recover(project)
        assert content(project) == now
    assert {(0, True), (1, True)} <= seen  # kills did fall into the work, and on both sides of it
