"""`adjudicate list`, `show`, `decide` and `reopen`; `open` and `collect` stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table
from consensus.commands.adjudication_projects import adjudicate_collect, adjudicate_open

if TYPE_CHECKING:
    from rich.console import Console

    from consensus.queue.adjudication_queue import Place, QueueEntry, State
    from consensus.queue.queue_order import Order


@click.group(short_help="Decide what is disputed.")
def adjudicate() -> None:
    """Decide what is disputed. Raters appear under masked names."""


adjudicate.add_command(adjudicate_open)
adjudicate.add_command(adjudicate_collect)


@adjudicate.command("list")
@click.option("--run", type=int, help="The consensus run; default: the latest.")
@click.option("--state", type=click.Choice(["open", "decided"]), help="Only these.")
@click.option(
    "--order",
    type=click.Choice(["entropy", "disagreement", "area", "random"]),
    default="entropy",
    show_default=True,
    help="What comes first.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random order.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the first in the queue.")
@command
def adjudicate_list(
    invocation: Invocation,
    run: int | None,
    state: State | None,
    order: Order,
    seed: int,
    limit: int | None,
) -> Outcome:
    """List the disputes, those first that an answer is expected to gain most from.

    The gain is the entropy of the classes' probabilities, times the area, times the severity. Other
    orders: by disagreement (severity) alone, by area, or at random. Disputes that lie side by side
    form one region, which bears the lowest number among them.
    """
    from consensus.queue.adjudication_queue import places, queue
    from consensus.queue.decisions import open_disputes
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        of_run = find_run(session, run)
        entries = queue(session, of_run, order=order, seed=seed, state=state, limit=limit)
        still_open = open_disputes(session, of_run)
    regions = places(entries, order=order, seed=seed)

    def show(console: Console) -> None:
        _show_list(console, entries)
        _show_regions(console, [region for region in regions if len(region.entries) > 1])
        if limit is not None:
            console.print(f"{counted(still_open, 'dispute')} of run {of_run.id} still open.")

    return Outcome(
        {
            "order": order,
            "open": still_open,
            "disputes": [entry.to_dict() for entry in entries],
            "regions": [region.to_dict() for region in regions],
        },
        show,
    )


def _show_list(console: Console, entries: list[QueueEntry]) -> None:
    console.print(
        table(
            None,
            "dispute",
            "region",
            "slide",
            "um2",
            "severity",
            "entropy",
            "gain",
            "labels",
            "state",
            rows=[
                [
                    e.dispute,
                    e.region,
                    e.slide,
                    _area(e),
                    round(e.severity, 3),
                    round(e.entropy, 3),
                    e.gain,
                    _labels(e),
                    _state(e),
                ]
                for e in entries
            ],
        )
    )


def _show_regions(console: Console, regions: list[Place]) -> None:
    """Where several disputes lie side by side, and can be decided together."""
    if not regions:
        return
    rows: list[list[object]] = []
    for region in regions:
        of_region = region.to_dict()
        left, top, right, bottom = of_region["bounds_px"]
        rows.append(
            [
                region.region,
                of_region["slide"],
                len(region.entries),
                of_region["open"],
                round(region.weight, 1),
                region.gain,
                f"x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f} px",
            ]
        )
    console.print("Side by side, to be looked at as one (`adjudicate decide --region`):")
    console.print(
        table(None, "region", "slide", "disputes", "open", "um2", "gain", "where", rows=rows)
    )


def _area(entry: QueueEntry) -> float | None:
    return round(entry.weight, 1) if entry.weight_unit == "um2" else None


def _labels(entry: QueueEntry) -> str:
    if entry.ai_assisted:
        return entry.said
    return ", ".join(f"{name.removeprefix('rater ')}: {c}" for name, c in entry.labels.items())


def _assisted(entry: QueueEntry) -> str:
    return " (AI-assisted)" if entry.ai_assisted else ""


def _state(entry: QueueEntry) -> str:
    if entry.state == "decided":
        return f"{entry.path_class or entry.answer}{_assisted(entry)}"
    return f"open ({entry.reopened_because})" if entry.reopened_because else "open"


@adjudicate.command("show")
@click.argument("dispute", type=int)
@command
def adjudicate_show(invocation: Invocation, dispute: int) -> Outcome:
    """Show one dispute: where it lies, and what each masked rater said."""
    from consensus.adjudication import find_dispute
    from consensus.queue.adjudication_queue import entries_of
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        run = find_run(session, find_dispute(session, dispute).run_id)
        (entry,) = entries_of(session, run, [dispute])
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
            console.print(
                f"{entry.decided_by} decided{_assisted(entry)}: {entry.reason}", markup=False
            )

    return Outcome({"disputes": [document]}, show)


@adjudicate.command("decide")
@click.argument("disputes", type=int, nargs=-1, metavar="[DISPUTE]...")
@click.option("--region", type=int, help="All open disputes of this region.")
@click.option("--class", "path_class", metavar="C", help="It is this class.")
@click.option("--indeterminate", is_flag=True, help="It can't be told.")
@click.option("--exclude", is_flag=True, help="It must not be used (artefact, out of focus).")
@click.option("--by", required=True, metavar="HANDLE", help="The adjudicator.")
@click.option("--reason", required=True, help="Why.")
@signing_options
@command
def adjudicate_decide(
    invocation: Invocation,
    disputes: tuple[int, ...],
    region: int | None,
    path_class: str | None,
    indeterminate: bool,
    exclude: bool,
    by: str,
    reason: str,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Decide disputes: a class, that it can't be told, or that it must not be used.

    Several disputes, or all that are open in a region, get the same answer, each on record by
    itself; where one of them can't be decided, none is.
    """
    from consensus.adjudication import decide_together, open_disputes_of_region
    from consensus.queue.decisions import CLASS, EXCLUDE, INDETERMINATE

    if bool(disputes) == (region is not None):
        raise click.UsageError("give the numbers of disputes, or one --region")
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
        what = f"dispute {disputes[0]}" if disputes else f"region {region}"
        raise InputError(f"{what}: give exactly one of --class, --indeterminate and --exclude")
    key = unlocked(key_file, passphrase_file)
    with invocation.store.writing() as session:
        numbers = list(dict.fromkeys(disputes))
        if region is not None:
            numbers = open_disputes_of_region(session, region)
        decide_together(
            session,
            numbers,
            by=by,
            reason=reason,
            answer=given[0],
            path_class=path_class,
            key=key,
        )
    return _changed(invocation, numbers)


@adjudicate.command("reopen")
@click.argument("dispute", type=int)
@click.option("--by", metavar="HANDLE", help="Who opens it again.")
@click.option("--reason", help="Why.")
@signing_options
@command
def adjudicate_reopen(
    invocation: Invocation,
    dispute: int,
    by: str | None,
    reason: str | None,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Take a decision back; what was decided stays on record."""
    from consensus.adjudication import reopen

    key = unlocked(key_file, passphrase_file)
    with invocation.store.writing() as session:
        reopen(session, dispute, by=by, reason=reason, key=key)
    return _changed(invocation, [dispute])


def _changed(invocation: Invocation, numbers: list[int]) -> Outcome:
    """The disputes as they stand now, in the order in which they were named."""
    from consensus.adjudication import find_dispute
    from consensus.queue.adjudication_queue import entries_of
    from consensus.queue.decisions import open_disputes
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        of_run = [(find_dispute(session, number).run_id, number) for number in numbers]
        runs = [find_run(session, run) for run in dict.fromkeys(run for run, _ in of_run)]
        entries = [
            entry
            for run in runs
            for entry in entries_of(session, run, [n for of, n in of_run if of == run.id])
        ]
        still_open = sum(open_disputes(session, run) for run in runs)
    of_number = {entry.dispute: entry for entry in entries}
    changed = [of_number[number] for number in numbers]

    def show(console: Console) -> None:
        for entry in changed:
            console.print(
                f"Dispute {entry.dispute} on {entry.slide}: {_state(entry)}.", markup=False
            )
        console.print(f"{still_open} still open.")

    return Outcome({"disputes": [entry.to_dict() for entry in changed]}, show)
