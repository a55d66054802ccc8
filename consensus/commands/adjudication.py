"""`adjudicate list`, `show`, `decide` and `reopen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, table

if TYPE_CHECKING:
    from rich.console import Console

    from consensus.adjudication import QueueEntry


@click.group(short_help="Decide what is disputed.")
def adjudicate() -> None:
    """Decide what is disputed. Raters appear under masked names."""


@adjudicate.command("list")
@click.option("--run", type=int, help="The consensus run; default: the latest.")
@click.option("--state", type=click.Choice(["open", "decided"]), help="Only these.")
@command
def adjudicate_list(invocation: Invocation, run: int | None, state: str | None) -> Outcome:
    """List the disputes, the largest and most severe first."""
    from consensus.adjudication import queue
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        entries = [e for e in queue(session, find_run(session, run)) if state in (None, e.state)]
    return Outcome(
        {"disputes": [entry.to_dict() for entry in entries]},
        lambda console: _show_list(console, entries),
    )


def _show_list(console: Console, entries: list[QueueEntry]) -> None:
    console.print(
        table(
            None,
            "dispute",
            "slide",
            "um2",
            "severity",
            "labels",
            "state",
            rows=[
                [e.dispute, e.slide, _area(e), round(e.severity, 3), _labels(e), _state(e)]
                for e in entries
            ],
        )
    )


def _area(entry: QueueEntry) -> float | None:
    return round(entry.weight, 1) if entry.weight_unit == "um2" else None


def _labels(entry: QueueEntry) -> str:
    return ", ".join(f"{name.removeprefix('rater ')}: {c}" for name, c in entry.labels.items())


def _state(entry: QueueEntry) -> str:
    if entry.state == "decided":
        return entry.path_class or str(entry.answer)
    return f"open ({entry.reopened_because})" if entry.reopened_because else "open"


@adjudicate.command("show")
@click.argument("dispute", type=int)
@command
def adjudicate_show(invocation: Invocation, dispute: int) -> Outcome:
    """Show one dispute: where it lies, and what each masked rater said."""
    from consensus.adjudication import find_dispute, queue
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        run = find_run(session, find_dispute(session, dispute).run_id)
        entry = next(e for e in queue(session, run) if e.dispute == dispute)
    document = entry.with_geometry()

    def show(console: Console) -> None:
        _show_list(console, [entry])
        if document["bounds_px"]:
            left, top, right, bottom = document["bounds_px"]
            console.print(
                f"On {entry.slide} at x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f} px.",
                markup=False,
            )
        if entry.reason:
            console.print(f"{entry.decided_by} decided: {entry.reason}", markup=False)

    return Outcome({"disputes": [document]}, show)


@adjudicate.command("decide")
@click.argument("dispute", type=int)
@click.option("--class", "path_class", metavar="C", help="It is this class.")
@click.option("--indeterminate", is_flag=True, help="It can't be told.")
@click.option("--exclude", is_flag=True, help="It must not be used (artefact, out of focus).")
@click.option("--by", required=True, metavar="HANDLE", help="The adjudicator.")
@click.option("--reason", required=True, help="Why.")
@command
def adjudicate_decide(
    invocation: Invocation,
    dispute: int,
    path_class: str | None,
    indeterminate: bool,
    exclude: bool,
    by: str,
    reason: str,
) -> Outcome:
    """Decide a dispute: a class, that it can't be told, or that it must not be used."""
    from consensus.adjudication import decide
    from consensus.decisions import CLASS, EXCLUDE, INDETERMINATE

    given = [
        answer
        for answer, said in (
            (CLASS, path_class is not None),
            (INDETERMINATE, indeterminate),
            (EXCLUDE, exclude),
        )
        if said
    ]
    if len(given) != 1:
        raise InputError(
            f"dispute {dispute}: give exactly one of --class, --indeterminate and --exclude"
        )
    with invocation.store.writing() as session:
        decide(session, dispute, by=by, reason=reason, answer=given[0], path_class=path_class)
    return _changed(invocation, dispute)


@adjudicate.command("reopen")
@click.argument("dispute", type=int)
@click.option("--by", metavar="HANDLE", help="Who opens it again.")
@click.option("--reason", help="Why.")
@command
def adjudicate_reopen(
    invocation: Invocation, dispute: int, by: str | None, reason: str | None
) -> Outcome:
    """Take a decision back; what was decided stays on record."""
    from consensus.adjudication import reopen

    with invocation.store.writing() as session:
        reopen(session, dispute, by=by, reason=reason)
    return _changed(invocation, dispute)


def _changed(invocation: Invocation, dispute: int) -> Outcome:
    from consensus.adjudication import find_dispute, queue
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        run = find_run(session, find_dispute(session, dispute).run_id)
        entries = queue(session, run)
    entry = next(e for e in entries if e.dispute == dispute)
    still_open = sum(e.state == "open" for e in entries)
    return Outcome(
        {"disputes": [entry.to_dict()]},
        lambda console: console.print(
            f"Dispute {dispute} on {entry.slide}: {_state(entry)}. {still_open} still open.",
            markup=False,
        ),
    )
