"""Pushing into a project: ours come in and out again, and what people drew stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image

from annotation.digests import derive_uuid, geometry_digests
from annotation.errors import ConflictError, InputError, RefusedError, SourceError, UnknownNameError
from annotation.projects import project_lock as locks
from annotation.projects import project_writing
from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.push import SlideObjects, push, revert
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.store import Store
from annotation.study import add_slide_without_image
from annotation.tables import Event, PushedObject
from tests.qupath.conftest import running_qupaths
from tests.qupath.test_object_writing import every_kind, opened_with_paquo

pytestmark = pytest.mark.qupath

ORIGIN = "run/3"
SIZE_PX = (1000, 800)


def ours(x: float, path_class: str = "Benign", size: float = 40) -> PathObject:
    geometry = shapely.Polygon([(x, 5), (x + size, 5), (x + size / 2, 5 + size)])
    (digest,) = geometry_digests([geometry])
    return PathObject(
        uuid=derive_uuid("test", digest, 0),
        object_type="annotation",
        path_class=path_class,
        name="consensus",
        locked=True,
        geometry=geometry,
        measurements={"pathquorum posterior Benign": 0.75},
        extra={"class_color": [0, 160, 0], "metadata": {"pathquorum": "run 3"}},
    )


@pytest.fixture
def project(process: QuPathProcess, tmp_path: Path) -> Path:
    """A project with a person's objects of every kind on A, none on B, and C that is no slide."""
    images = []
    for name in ("A", "B", "C"):
        Image.new("RGB", SIZE_PX, "white").save(tmp_path / f"{name}.png")
        drawn = [thing for thing in every_kind() if name == "A"]
        images.append(NewImage(name, (tmp_path / f"{name}.png").as_uri(), drawn))
    classes = [("Benign", (0, 160, 0)), ("Tumor", (200, 0, 0))]
    return create_project(tmp_path / "project", images, classes=classes, process=process)


@pytest.fixture
def content(store: Store) -> list[SlideObjects]:
    with store.writing() as session:
        ids = {
            name: add_slide_without_image(
                session, name, width_px=SIZE_PX[0], height_px=SIZE_PX[1], mpp=0.5
            ).id
            for name in ("A", "B", "D")
        }
    return [
        SlideObjects(ids["A"], "A", [ours(0), ours(100, "Tumor")]),
        SlideObjects(ids["B"], "B", [ours(50)]),
        SlideObjects(ids["D"], "D", [ours(70)]),
    ]


def files(project: Path) -> dict[str, bytes]:
    folder = project.parent
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def held(project: Path) -> dict[str, dict[str, tuple[bytes, str | None]]]:
    """Digest and parent of every object by image."""
    found = {}
    for source in open_project(project):
        found[source.slide_names[0]] = {
            str(thing.uuid): (digest, thing.parent)
            for batch in source.batches()
            for thing, digest in zip(batch.objects, batch.content_digests, strict=True)
        }
    return found


def replaced(thing: PathObject, **fields: Any) -> PathObject:
    values = {name: getattr(thing, name) for name in thing.__slots__}
    return PathObject(**{**values, **fields})


def drawn_by_script(project: Path, process: QuPathProcess, entry: int, **change: Any) -> None:
    """What a person does in QuPath between two pushes."""
    folder = project.parent / "data" / str(entry)
    written = process.write((folder / "data.qpdata").read_bytes(), **change)
    (folder / "data.qpdata").write_bytes(written.data)
    summary = json.loads((folder / "summary.json").read_bytes())
    summary["hierarchy"] = written.hierarchy
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_push_adds_ours_and_a_second_one_nothing_and_revert_leaves_what_people_drew(
    store: Store, project: Path, content: list[SlideObjects]
) -> None:
    before = held(project)
    result = push(store, project, ORIGIN, content)
    assert (result.pushed, result.skipped) == (3, 0)
    assert result.targets == [f"{project}#1", f"{project}#2"]
    assert result.notes == ["not in the project: D"]
    after = held(project)
    mine = {str(thing.uuid) for thing in content[0].objects}
    assert after["A"].keys() == before["A"].keys() | mine
    assert {u: after["A"][u] for u in before["A"]} == before["A"]
    told = opened_with_paquo(project)
    assert mine <= set(told["A"][2])
    assert told["B"][2] == [str(content[1].objects[0].uuid)]
    stood = files(project)
    again = push(store, project, ORIGIN, content)
    assert (again.pushed, again.skipped, again.replaced) == (0, 3, 0)
    assert files(project) == stood
    taken = revert(store, project, ORIGIN)
    assert taken.reverted == 3
    assert held(project) == {**before, "B": {}}
    with store.reading() as session:
        assert {row.reverted_at is None for row in session.query(PushedObject)} == {False}
        actions = [event.action for event in session.query(Event).order_by(Event.id)]
    assert actions[-2:] == ["pushed", "push reverted"]
    with pytest.raises(UnknownNameError, match="nothing of run/3 stands in"):
        revert(store, project, ORIGIN)
    assert not list(project.parent.glob(".pathquorum*"))
    assert not list(project.parent.glob("*lock"))


def test_a_later_state_replaces_ours_and_only_ours(
    store: Store, project: Path, content: list[SlideObjects]
) -> None:
    before = held(project)
    push(store, project, ORIGIN, content)
    first, second = content[0].objects
    later = [replaced(first, path_class="Tumor"), ours(300)]
    result = push(store, project, ORIGIN, [SlideObjects(content[0].slide_id, "A", later)])
    assert (result.pushed, result.replaced, result.removed) == (2, 1, 1)
    after = held(project)["A"]
    assert after.keys() == before["A"].keys() | {first.uuid, later[1].uuid}
    assert second.uuid not in after
    assert {u: after[u] for u in before["A"]} == before["A"]


def test_one_of_ours_that_a_person_changed_stays_and_is_named(
    store: Store, project: Path, content: list[SlideObjects], process: QuPathProcess
) -> None:
    push(store, project, ORIGIN, content)
    first = content[0].objects[0]
    theirs = replaced(first, path_class="Stroma")
    drawn_by_script(project, process, 1, remove=[str(first.uuid)], add=[theirs])
    stood = files(project)
    for act in (
        lambda: revert(store, project, ORIGIN),
        lambda: push(store, project, ORIGIN, content),
    ):
        with pytest.raises((RefusedError, ConflictError), match=str(first.uuid)):
            act()
    assert files(project) == stood


def test_what_a_person_put_below_ours_moves_up_and_is_otherwise_the_same(
    store: Store, project: Path, content: list[SlideObjects], process: QuPathProcess
) -> None:
    push(store, project, ORIGIN, content)
    inside = replaced(ours(4, size=9), parent=content[0].objects[0].uuid, locked=False)
    drawn_by_script(project, process, 1, add=[inside])
    digest, _ = held(project)["A"][str(inside.uuid)]
    revert(store, project, ORIGIN)
    assert held(project)["A"][str(inside.uuid)] == (digest, None)


def test_a_uuid_that_is_a_persons_own_is_never_taken(
    store: Store, project: Path, content: list[SlideObjects]
) -> None:
    stood = files(project)
    same = replaced(ours(0), uuid=every_kind()[0].uuid)
    with pytest.raises(ConflictError, match="were changed since"):
        push(store, project, ORIGIN, [SlideObjects(content[0].slide_id, "A", [same])])
    assert files(project) == stood


def spoil_truncated(project: Path) -> None:
    data = project.parent / "data/1/data.qpdata"
    data.write_bytes(data.read_bytes()[:-100])


def spoil_count(project: Path) -> None:
    path = project.parent / "data/1/summary.json"
    summary = json.loads(path.read_bytes())
    summary["hierarchy"]["nObjects"] += 1
    path.write_text(json.dumps(summary))


def spoil_image(project: Path) -> None:
    (project.parent.parent / "A.png").unlink()


def spoil_version(project: Path) -> None:
    content = json.loads(project.read_bytes())
    content["version"] = "99.0.0"
    project.write_text(json.dumps(content))


def spoil_saving(project: Path) -> None:
    project.with_name("project.qpproj.tmp").write_bytes(project.read_bytes()[:50])


def spoil_backup(project: Path) -> None:
    data = project.parent / "data/1/data.qpdata"
    data.with_name("data.qpdata.bkp").write_bytes(data.read_bytes())


def spoil_moved(project: Path) -> None:
    content = json.loads(project.read_bytes())
    content["images"][0]["serverBuilder"] = {
        "builderType": "affine",
        "builder": content["images"][0]["serverBuilder"],
    }
    project.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_truncated, "cut short"),
        (spoil_count, "objects of"),
        (spoil_image, "image can't be found"),
        (spoil_version, "would drop what it doesn't know"),
        (spoil_saving, "is saving the project"),
        (spoil_backup, "bkp is there, so QuPath is saving it"),
        (spoil_moved, "transformed"),
    ],
)
def test_a_project_that_a_write_would_spoil_is_refused_in_one_line(
    store: Store,
    project: Path,
    content: list[SlideObjects],
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    spoil(project)
    stood = files(project)
    with pytest.raises((RefusedError, SourceError), match=said) as error:
        push(store, project, ORIGIN, content)
    assert "\n" not in str(error.value)
    assert files(project) == stood
    with store.reading() as session:
        assert session.query(PushedObject).count() == 0


def test_no_slide_of_the_run_in_the_project_is_an_error(
    store: Store, project: Path, content: list[SlideObjects]
) -> None:
    with pytest.raises(InputError, match=r"none of the slides \(D\)"):
        push(store, project, ORIGIN, content[2:])


HOLDER = """
import sys, time
from pathlib import Path
from annotation.projects.project_lock import project_lock
with project_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_project_that_another_one_writes_is_refused_until_it_ends_however_it_ends(
    store: Store, project: Path, content: list[SlideObjects]
) -> None:
    lock = project.with_name(project.name + locks.LOCK_SUFFIX)
    lock.write_text("")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(project)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        told = rf"being written by another pathquorum \(process {other.pid} on "
        with pytest.raises(RefusedError, match=told):
            push(store, project, ORIGIN, content)
    finally:
        other.kill()
        other.communicate()
    assert push(store, project, ORIGIN, content).pushed == 3


def test_a_qupath_that_runs_here_is_found_and_the_user_told_to_close_it(
    store: Store,
    project: Path,
    content: list[SlideObjects],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "_running_qupaths", running_qupaths)
    window = tmp_path / "QuPath-0.5.1"
    window.symlink_to("/bin/sleep")
    running = subprocess.Popen([window, "60"])
    try:
        with pytest.raises(RefusedError, match=rf"process {running.pid}.*close it"):
            push(store, project, ORIGIN, content)
        assert push(store, project, ORIGIN, content, qupath_is_elsewhere=True).pushed == 3
    finally:
        running.kill()
        running.wait()


def test_a_save_in_qupath_while_the_push_is_prepared_wins(
    store: Store,
    project: Path,
    content: list[SlideObjects],
    process: QuPathProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = project_writing.OpenedProject.commit

    def saved_meanwhile(opened: project_writing.OpenedProject) -> None:
        drawn_by_script(project, process, 1, add=[ours(600)])
        commit(opened)

    monkeypatch.setattr(project_writing.OpenedProject, "commit", saved_meanwhile)
    with pytest.raises(RefusedError, match="was changed while the push was prepared"):
        push(store, project, ORIGIN, content)
    assert str(ours(600).uuid) in held(project)["A"]
    with store.reading() as session:
        assert session.query(PushedObject).count() == 0
    assert not list(project.parent.glob(".pathquorum*"))


def test_what_is_built_otherwise_than_it_should_is_never_put_in(
    store: Store, project: Path, content: list[SlideObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A QuPath that loses an object, moves one, or drops a parent is found out."""
    write = QuPathProcess.write
    stood = files(project)
    spoiled: list[Callable[..., Any]] = [
        lambda self, data, *, add, remove, **more: write(self, data, add=add[1:], remove=remove, **more),
        lambda self, data, *, add, remove, **more: write(
            self, data, add=[replaced(add[0], geometry=shapely.affinity.translate(add[0].geometry, 1)), *add[1:]],
            remove=remove, **more,
        ),
        lambda self, data, *, add, remove, **more: write(
            self, data, add=add, remove=[*remove, str(every_kind()[0].uuid)] if data else remove, **more
        ),
    ]  # fmt: skip
    for spoil in spoiled:
        monkeypatch.setattr(QuPathProcess, "write", spoil)
        with pytest.raises(RefusedError, match="reads back otherwise"):
            push(store, project, ORIGIN, content[:1])
        assert files(project) == stood


def test_a_store_that_fails_after_the_project_was_written_puts_the_old_state_back(
    store: Store, project: Path, content: list[SlideObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    stood = files(project)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("annotation.push_records.record", fails)
    with pytest.raises(RuntimeError, match="disk is full"):
        push(store, project, ORIGIN, content)
    assert files(project) == stood


PUSH = """
import sys
from annotation.cli import run
sys.exit(run(["push", "--run", "1", "--to", sys.argv[1], "--qupath-is-elsewhere"]))
"""


def test_a_push_by_command_line_says_what_it_did(
    project: Path, pathquorum: Callable[..., Any], store: Store
) -> None:
    from tests.consensus.built_run import Item, build_run

    label = {"P1": "Benign", "P2": "Benign", "P3": "Benign"}
    drawn = shapely.Polygon([(10, 10), (200, 20), (100, 300)])
    run = build_run(store, [Item("A", drawn, label, "Benign")], slides={"A": {}})
    result = pathquorum("push", "--run", run, "--to", project)
    assert result.status == 0, result.err
    assert "Wrote 1 object. 1 image in" in result.out
    assert pathquorum("push", "--run", run, "--to", project, "--json").json["skipped"] == 1
    assert (
        pathquorum("push", "--run", run, "--to", project, "--revert", "--json").json["reverted"]
        == 1
    )


@pytest.fixture
def of_a_run(store: Store, project: Path) -> Path:
    """The project as one whose first two images are slides of run 1."""
    from tests.consensus.built_run import Item, build_run

    label = {"P1": "Benign", "P2": "Benign", "P3": "Benign"}
    drawn = shapely.Polygon([(10, 10), (200, 20), (100, 300)])
    items = [Item(name, drawn, label, "Benign") for name in ("A2", "B2")]
    build_run(store, items, slides={"A2": {}, "B2": {}})
    renamed = json.loads(project.read_bytes())
    for entry, name in zip(renamed["images"], ("A2", "B2", "C"), strict=True):
        entry["imageName"] = name
    project.write_text(json.dumps(renamed))
    return project


KILLED_ONCE_WRITTEN = """
import os
from annotation.projects.exchange import Exchange
commit = Exchange.commit
def killed(self):
    commit(self)
    os._exit(9)
Exchange.commit = killed
"""


def test_killed_once_the_project_is_written_ours_is_known_as_ours(
    of_a_run: Path, store: Store, store_url: str, pathquorum: Callable[..., Any]
) -> None:
    """What stands in a project and not in the store would count as a person's read."""
    stood = held(of_a_run)
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_ONCE_WRITTEN + PUSH, str(of_a_run)],
        env={**os.environ, "PATHQUORUM_STORE": store_url},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == 9, killed.stderr
    assert len(held(of_a_run)["A2"]) == len(stood["A2"]) + 1
    with store.reading() as session:
        assert session.query(PushedObject).count() == 2
        assert session.query(Event).filter_by(action="pushed").count() == 0
    pulled = pathquorum("pull", of_a_run, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert pulled.status == 0, pulled.err
    assert sum(read["ours"] for read in pulled.json["reads"]) == 2
    again = pathquorum("push", "--run", 1, "--to", of_a_run, "--qupath-is-elsewhere", "--json")
    assert (again.json["pushed"], again.json["skipped"]) == (0, 2)


def test_killed_at_random_moments_the_project_is_old_or_new(of_a_run: Path, store_url: str) -> None:
    """Ten whole pushes, each killed somewhere; the exchange itself is killed a hundred times
    in tests/annotation/test_exchange.py."""
    import random

    project = of_a_run
    old = held(project)
    environment = {**os.environ, "PATHQUORUM_STORE": store_url}
    command = [sys.executable, "-W", "ignore", "-c", PUSH, str(project)]
    start = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole_s = time.monotonic() - start
    new = held(project)
    assert len(new["A2"]) == len(old["A2"]) + 1
    rng = random.Random(7)
    for _ in range(10):
        subprocess.run([*command[:-2], PUSH.replace('"--to"', '"--revert", "--to"'), str(project)],
                       env=environment, check=True, capture_output=True)  # fmt: skip
        started = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 1) * whole_s)
        started.kill()
        started.wait()
        now = held(project)
        without = {name: now.get(name, {}) for name in ("A2", "B2")}
        assert without in (
            {name: state.get(name, {}) for name in ("A2", "B2")} for state in (old, new)
        )
        subprocess.run(command, env=environment, check=True, capture_output=True)
        assert held(project) == new
