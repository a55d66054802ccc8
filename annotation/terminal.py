"""What every subcommand shares: its common options, its output, and what a fault looks like.

A command returns an :class:`Outcome`: the document that ``--json`` prints, and a function that
shows the same to a person. Documents go to standard output, everything else to standard error.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import PathquorumError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from annotation.store import Store

__all__ = ["Invocation", "Outcome", "command", "counted", "one_line", "plain", "table"]

DEFAULT_STORE = "sqlite:///pathquorum.db"


@dataclass
class Outcome:
    """What a command has to say."""

    document: dict[str, Any]
    show: Callable[[Console], None]
    status: int = 0


@dataclass
class Invocation:
    """One run of a command: the common options, and the store opened when first asked for."""

    store_url: str
    as_json: bool
    log_json: bool = False
    _store: Store | None = field(default=None, repr=False)

    @property
    def store(self) -> Store:
        """The open store."""
        if self._store is None:
            from annotation.store import open_store

            self._store = open_store(self.store_url)
        return self._store

    def say(self, message: str) -> None:
        """Tell a person something that is not the result: it goes to standard error."""
        if self.log_json:
            from annotation.logs import log

            log.info("told", message=one_line(message))
        else:
            click.echo(plain(message), err=True)

    def close(self) -> None:
        """Close what was opened."""
        if self._store is not None:
            self._store.close()


def command(function: Callable[..., Outcome]) -> Callable[..., None]:
    """Give a command ``--store``, ``--json`` and ``--log-json``, and print its outcome."""

    @click.option(
        "--store",
        "store_url",
        envvar="PATHQUORUM_STORE",
        default=DEFAULT_STORE,
        show_default=True,
        metavar="URL",
        help="The store's database URL.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--log-json", is_flag=True, help="Write logs as JSON lines.")
    @functools.wraps(function)
    def run(*args: Any, store_url: str, as_json: bool, log_json: bool, **options: Any) -> None:
        from annotation.logs import configured, log

        context = click.get_current_context()
        log_json = log_json or bool(context.find_root().params.get("log_json"))
        invocation = Invocation(store_url, as_json, log_json)
        name = context.command_path
        start_s = time.monotonic()
        with configured(as_json=log_json):
            try:
                outcome = function(invocation, *args, **options)
            except Exception as error:
                log.info(
                    "failed",
                    command=name,
                    elapsed_s=round(time.monotonic() - start_s, 3),
                    error=one_line(str(error)),
                )
                told = isinstance(error, PathquorumError | OSError)
                if log_json and told and not isinstance(error, BrokenPipeError):
                    # The log has told it; a line of another kind would spoil the stream.
                    raise click.exceptions.Exit(1) from error
                raise
            finally:
                invocation.close()
            log.info(
                "finished",
                command=name,
                elapsed_s=round(time.monotonic() - start_s, 3),
                status=outcome.status,
            )
        if as_json:
            import msgspec

            sys.stdout.write(msgspec.json.encode(outcome.document).decode() + "\n")
        else:
            outcome.show(_console())
        if outcome.status:
            raise click.exceptions.Exit(outcome.status)

    return run


def _console() -> Console:
    from rich.console import Console

    # Tables keep their columns in a pipe, where rich would squeeze them to 80 characters.
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "140"))
    return Console(width=width, soft_wrap=False, highlight=False)


def table(title: str | None, *columns: str, rows: list[list[object]]) -> Table:
    """A table of plain cells; numbers are set right, nothing in a cell is taken as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(_cell(cell))) for cell in row))
    return made


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 slide``, ``12 slides``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """The text without control characters: a slide's name must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def one_line(text: str) -> str:
    """The text on a single line."""
    return " ".join(plain(text).split())
