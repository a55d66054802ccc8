"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from rich.console import Console

    from consensus.report import WrittenReport


@click.command(short_help="Write the concordance report.")
@click.option("--run", "number", type=int, metavar="RUN", help="The run; default: the latest.")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="The file to write; one that is there is replaced.",
)
@command
def report(invocation: Invocation, number: int | None, target: Path) -> Outcome:
    """Write the concordance report of a consensus run as one HTML file.

    It needs no network and nothing beside it, and prints from any browser. It names raters by
    their handles: give it to an adjudicator only when nothing is left to decide.
    """
    from consensus.report import write_report

    written = write_report(invocation.store, number, target)
    for note in written.notes:
        invocation.say(f"Note: {note}.")
    return Outcome(written.to_dict(), lambda console: _show(console, written))


def _show(console: Console, written: WrittenReport) -> None:
    console.print(
        f"Report of run {written.run}: {written.file} ({written.size_bytes / 1e6:.1f} MB, "
        f"{counted(written.pictures, 'picture')}, sha256 {written.sha256[:12]}…).",
        markup=False,
        soft_wrap=True,
    )
