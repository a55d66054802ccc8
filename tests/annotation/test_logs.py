"""One line an event: JSON where it is asked for, and quiet for people."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotation.store import Store
from tests.conftest import CommandResult, feature, square
from tests.test_command_line import EVERY_COMMAND, name_of

Study = Callable[..., CommandResult]


def logged(result: CommandResult) -> list[dict[str, Any]]:
    """What standard error holds, every line of it JSON."""
    return [json.loads(line) for line in result.err.splitlines()]


@pytest.mark.parametrize(
    "command", [c for p, c in EVERY_COMMAND if p and not hasattr(c, "commands")], ids=name_of
)
def test_every_command_takes_log_json(command: Any) -> None:
    assert "--log-json" in {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_option_holds_before_and_after_the_command(study: Study, place: str) -> None:
    arguments = ("status", "--json")
    option = ("--log-json",)
    result = study(*option, *arguments) if place == "before" else study(*arguments, *option)
    (finished,) = logged(result)
    assert (finished["event"], finished["command"]) == ("finished", "pathquorum status")
    assert finished["status"] == 0
    assert finished["elapsed_s"] >= 0
    assert finished["timestamp"].endswith("Z")
    assert result.json["slides"] == 1


def test_without_it_nothing_is_logged(study: Study) -> None:
    assert study("status").err == ""


def test_a_pull_is_counted_and_timed_read_by_read(
    study: Study, write_export: Callable[..., Path]
) -> None:
    path = write_export([feature(square(0, 0), "Benign"), feature(square(200, 0), "Benign")])
    result = study("--log-json", "pull", path, "--annotator", "P1", "--protocol", "prostate")
    lines = {line["event"]: line for line in logged(result)}
    assert list(lines) == ["recorded", "read pulled", "pulled", "told", "finished"]
    read, pulled = lines["read pulled"], lines["pulled"]
    assert (read["read"], read["pull"], read["objects"], read["added"]) == (1, 1, 2, 2)
    assert (pulled["reads"], pulled["objects"]) == (1, 2)
    assert 0 <= read["elapsed_s"] <= pulled["elapsed_s"] <= lines["finished"]["elapsed_s"] + 0.01
    assert (lines["recorded"]["action"], lines["recorded"]["subject"]) == ("pulled", "pull:1")
    assert "not signed" in lines["told"]["message"]
    timed = study("status", "--json").json["pulls"]
    assert (timed["pulls"], timed["reads"], timed["reads_timed"]) == (1, 1, 1)
    assert timed["elapsed_s"] == read["elapsed_s"]


def test_a_fault_is_one_line_of_json_and_nothing_else(study: Study) -> None:
    result = study("--log-json", "slide", "add", "nowhere.svs")
    assert (result.status, result.out) == (1, "")
    (failed,) = logged(result)
    assert failed["event"] == "failed"
    assert "nowhere.svs" in failed["error"]
    assert failed["elapsed_s"] >= 0


def test_names_cannot_break_a_line(study: Study) -> None:
    result = study("--log-json", "annotator", "add", "a\nb", "--role", "captain\n{}")
    assert result.status == 2
    result = study("--log-json", "pull", "x", "--annotator", 'a\n"b', "--protocol", "no\nsuch")
    assert [line["event"] for line in logged(result)] == ["failed"]


def test_only_what_stands_in_the_store_is_logged_as_recorded(
    study: Study, write_export: Callable[..., Path]
) -> None:
    path = write_export([feature(square(0, 0), "Benign")])
    arguments = ("pull", path, "--annotator", "P1", "--protocol", "prostate")
    dry = study("--log-json", *arguments, "--dry-run")
    assert [line["event"] for line in logged(dry)] == ["told", "finished"]


def test_a_password_reaches_no_log(pathquorum: Study) -> None:
    url = "postgresql+psycopg://ada:hunter2@127.0.0.1:1/none?password=hunter3"
    result = pathquorum("--log-json", "status", "--store", url)
    assert result.status == 1
    assert [line["event"] for line in logged(result)] == ["failed"]
    assert "hunter" not in result.err + result.out


def test_who_uses_the_packages_from_python_sees_no_log_on_standard_output(tmp_path: Path) -> None:
    code = (
        "import sys; from annotation.store import create_or_upgrade; "
        "create_or_upgrade(sys.argv[1])[0].close()"
    )
    url = f"sqlite:///{tmp_path / 'own.db'}"
    done = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_name_is_no_part_of_what_is_logged(study: Study, store: Store) -> None:
    named = ("--name", "Ada Lovelace", "--email", "ada@example.org")
    result = study("--log-json", "annotator", "add", "P9", "--role", "senior", *named)
    assert [line["event"] for line in logged(result)] == ["recorded", "recorded", "finished"]
    assert "Ada" not in result.err
    assert "ada@" not in result.err


def test_what_a_driver_logs_beside_its_error_is_no_second_line() -> None:
    """A fault is one line; psycopg warns of a pipeline that it gives up where a server's disk is full."""
    pytest.importorskip("psycopg")
    code = (
        "import logging; from annotation.stores.addresses import parsed; "
        "from annotation.stores.engines import open_engine; "
        "open_engine(parsed('postgresql+psycopg://u@/d')).dispose(); "
        "logging.getLogger('psycopg').warning('error ignored terminating a pipeline')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
