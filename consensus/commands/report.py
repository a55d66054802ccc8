"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.commands.signing_options import signing_options, unlocked
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
@click.option("--by", metavar="HANDLE", help="Who reports; with --key its owner.")
@signing_options
@command
def report(
    invocation: Invocation,
    number: int | None,
    target: Path,
    by: str | None,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Write the concordance report of a consensus run as one HTML file.

    It needs no network and nothing beside it, and prints from any browser. It names raters by
    their handles: give it to an adjudicator only when nothing is left to decide.
    With --key its signature stands beside it, as FILE.html.sig.
    """
    from consensus.report import write_report

    key = unlocked(key_file, passphrase_file)
    written = write_report(invocation.store, number, target, by=by, key=key)
    for note in written.notes:
        invocation.say(f"Note: {note}.")
    return Outcome(written.to_dict(), lambda console: _show(console, written))


def _show(console: Console, written: WrittenReport) -> None:
    console.print(
        f"Report of run {written.run}: {written.file} ({written.size_bytes / 1e6:.1f} MB, "
        f"{counted(written.pictures, 'picture')}, sha256 {written.sha256[:12]}…)."
        + (f" Signature: {written.signature}." if written.signature else ""),
        markup=False,
        soft_wrap=True,
    )
