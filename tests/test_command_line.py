"""The command line as a whole: quick help, one-line faults, and names that shadow nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest

from annotation.cli import COMMANDS, root
from tests.conftest import PROJECT_ROOT, CommandResult

HEAVY = (
    "torch",
    "paquo",
    "sqlalchemy",
    "shapely",
    "numpy",
    "matplotlib",
    "openslide",
    "rich",
    "cryptography",
)
CONSOLE_SCRIPT = Path(sys.executable).with_name("pathquorum")


def all_commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += all_commands(child, (*path, name))
    return found


def name_of(value: object) -> str:
    return "-".join(value) or "root" if isinstance(value, tuple) else ""


EVERY_COMMAND = all_commands(root)


def test_help_imports_nothing_that_is_slow() -> None:
    code = (
        "import sys; from annotation.cli import run; run(['--help']); "
        "print(','.join(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "adjudicate" in done.stdout
    assert not set(HEAVY) & set(done.stderr.strip().split(","))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_list_is_the_commands_own(name: str) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")
    assert getattr(import_module(module), attribute).short_help == COMMANDS[name][1]


@pytest.mark.parametrize(("path", "command"), EVERY_COMMAND, ids=name_of)
def test_every_command_has_help_and_its_common_options(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert command.help
    if not isinstance(command, click.Group):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--store", "--json"} <= options
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in ("slide", "annotator"):
                assert (
                    parameter.help or parameter.metavar or isinstance(parameter.type, click.Choice)
                ), f"{path} {parameter.opts}"


@pytest.mark.parametrize(
    ("path", "command"),
    [(p, c) for p, c in EVERY_COMMAND if p and not isinstance(c, click.Group)],
    ids=name_of,
)
def test_every_command_stands_in_the_readme_or_a_page_of_it(
    path: tuple[str, ...], command: click.Command
) -> None:
    pages = (PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").glob("*.md"))
    shown = [page for page in pages if f"pathquorum {' '.join(path)}" in page.read_text("utf-8")]
    assert shown


def test_wrong_usage_is_status_2_and_prints_nothing_on_standard_output(
    pathquorum: Callable[..., CommandResult],
) -> None:
    for arguments in (["nonsense"], ["pull"], ["history", "--slide", "x"], ["--nonsense"]):
        result = pathquorum(*arguments)
        assert result.status == 2
        assert result.out == ""
        assert result.err


def test_a_fault_is_one_line_on_standard_error(
    pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    result = pathquorum("protocol", "add", tmp_path / "a\nb.toml", "--json")
    assert result.status == 1
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("Error: ")


def test_a_missing_store_is_not_created_by_asking(tmp_path: Path, pathquorum) -> None:  # type: ignore[no-untyped-def]
    missing = tmp_path / "typo.db"
    for arguments in (["status"], ["annotator", "list"], ["audit", "verify"]):
        assert pathquorum(*arguments, "--store", f"sqlite:///{missing}").status == 1
    assert not missing.exists()


@pytest.fixture
def crowded_folder(tmp_path: Path) -> Path:
    """A folder whose packages bear the names of ours and must not be imported."""
    for name in ("annotation", "consensus", "models", "migrations", "qupath_scripts", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    return tmp_path


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def test_the_users_folders_do_not_shadow_the_console_script(crowded_folder: Path) -> None:
    if not CONSOLE_SCRIPT.exists():
        pytest.skip("pathquorum is not installed as a console script beside this Python")
    done = subprocess.run(
        [CONSOLE_SCRIPT, "init", "--json"],
        cwd=crowded_folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["revision"]
    assert (crowded_folder / "pathquorum.db").exists()


def test_the_safe_path_flag_keeps_python_m_from_being_shadowed(crowded_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "annotation.cli", "--version"],
        cwd=crowded_folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pathquorum" in done.stdout
