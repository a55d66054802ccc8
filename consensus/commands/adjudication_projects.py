"""`adjudicate open` and `adjudicate collect`: deciding in QuPath."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from consensus.queue.queue_order import Order

__all__ = ["adjudicate_collect", "adjudicate_open"]


@click.command("open", short_help="Make a QuPath project of what is disputed.")
@click.option("--run", type=int, help="The consensus run; default: the latest.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder of the new project.",
)
@click.option(
    "--order",
    type=click.Choice(["entropy", "disagreement", "area", "random"]),
    default="entropy",
    show_default=True,
    help="What comes first.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random order.")
@click.option("--limit", type=int, help="Only so many disputes, the first in the queue.")
@click.option(
    "--slides-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Where to look for slides that have moved.",
)
@command
def adjudicate_open(
    invocation: Invocation,
    run: int | None,
    folder: Path,
    order: Order,
    seed: int,
    limit: int | None,
    slides_root: Path | None,
) -> Outcome:
    """Make a QuPath project that holds the open disputes of a run.

    Images come in the order of priority. Each dispute is a locked, yellow annotation without a
    class; its name says what each masked rater said. Give it a class in QuPath, or draw an annotation
    of a class over more than half of it, write the reason into its description, and save; then
    `adjudicate collect`.
    """
    from consensus.adjudicating.opening import open_in_qupath
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        opened = open_in_qupath(
            session,
            find_run(session, run),
            folder,
            order=order,
            seed=seed,
            limit=limit,
            slides_root=slides_root,
        )
    text = (
        f"{opened.project}: {counted(len(opened.disputes), 'dispute')} of run {opened.run} on "
        f"{counted(len(opened.slides), 'slide')}. Give each a class in QuPath, save, then `pathquorum "
        f"adjudicate collect {folder} --by HANDLE`."
    )
    return Outcome(
        opened.to_dict(), lambda console: console.print(text, markup=False, soft_wrap=True)
    )


@click.command("collect", short_help="Take the decisions out of such a project.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True), metavar="DIR")
@click.option("--by", required=True, metavar="HANDLE", help="The adjudicator.")
@click.option("--reason", help="For the disputes without a description of their own.")
@click.option("--partial", is_flag=True, help="Take what is decided, and leave the rest open.")
@signing_options
@command
def adjudicate_collect(
    invocation: Invocation,
    folder: Path,
    by: str,
    reason: str | None,
    partial: bool,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Take the decisions out of a project that `adjudicate open` made.

    All of them come in, or none: a dispute without a class, a class that is no answer, or a decision
    without a reason is refused by name. With --partial the finished ones come in, and the others are
    named. Collecting again takes nothing twice.
    """
    from consensus.adjudicating.collecting import collect

    key = unlocked(key_file, passphrase_file)
    with invocation.store.writing() as session:
        collected = collect(session, folder, by=by, reason=reason, partial=partial, key=key)
    for note in collected.notes:
        invocation.say(f"Note: {note}.")
    for one in collected.unfinished:
        invocation.say(f"Not taken: {one.why}.")
    text = (
        f"{counted(len(collected.decided), 'dispute')} decided{_numbers(collected.decided)}, "
        f"{len(collected.skipped)} were decided alike before{_numbers(collected.skipped)}, "
        f"{len(collected.open)} still open{_numbers(collected.open)}."
    )
    return Outcome(
        collected.to_dict(), lambda console: console.print(text, markup=False, soft_wrap=True)
    )


def _numbers(disputes: Sequence[int]) -> str:
    return f" ({', '.join(map(str, disputes))})" if disputes else ""
