"""`status`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

_NAMED: Final = 5
"""As many of what is blocked for one reason are named; the others are counted."""
_PROGRESS: Final = ("annotator", "planned", "done", "open", "overdue", "excluded", "last read")
_MONTHS: Final = 5
"""So many of the last months are shown."""


@click.command(short_help="Where the study stands.")
@click.option(
    "--overdue", "overdue_days", type=click.IntRange(min=0), metavar="DAYS",
    help="A read is overdue so long after it was handed out or its washout ended; default: 28.",
)  # fmt: skip
@click.option(
    "--plan", type=click.Path(path_type=Path), metavar="FILE.csv",
    help="A plan of `assign --plan`: what is planned beyond what was handed out.",
)  # fmt: skip
@click.option("--reads", "with_reads", is_flag=True, help="Also what each read holds.")
@click.option("--prometheus", is_flag=True, help="Print metrics in Prometheus' text format.")
@command
def status(
    invocation: Invocation,
    overdue_days: int | None,
    plan: Path | None,
    with_reads: bool,
    prometheus: bool,
) -> Outcome:
    """Where the study stands: who has read what, agreement so far, the queue, what is blocked.

    Kappa by month is that of the slides whose last read fell into the month. --prometheus names
    annotators by their handles, and no slides.
    """
    from annotation.distribution.plan_file import read_plan
    from annotation.store import now
    from consensus.monitoring.prometheus import exposition
    from consensus.status import OVERDUE_DAYS, Asked, study_status

    if prometheus and invocation.as_json:
        raise click.UsageError("Choose one of --json and --prometheus.")
    asked = Asked(
        now(),
        OVERDUE_DAYS if overdue_days is None else overdue_days,
        None if plan is None else read_plan(plan),
    )
    with invocation.store.reading() as session:
        document = study_status(session, asked)
    document["store"] = invocation.store.url
    if prometheus:
        return Outcome(document, lambda _console: click.echo(exposition(document), nl=False))
    return Outcome(document, lambda console: _show(console, document, with_reads=with_reads))


def _show(console: Console, document: dict[str, Any], *, with_reads: bool) -> None:
    pulls = document["pulls"]
    console.print(
        f"{document['store']}: {counted(document['slides'], 'slide')}, "
        f"{document['annotators']} people, {counted(len(document['protocols']), 'protocol')}, "
        f"{counted(pulls['pulls'], 'pull')}"
        + (f" (the last on {pulls['last_at']:%Y-%m-%d})." if pulls["last_at"] else "."),
        markup=False,
    )
    if document["unread_slides"]:
        names = document["unread_slides"]
        console.print(f"Nobody has read {_some(names)}.", markup=False)
    predicted = document["predictions"]
    if predicted["runs"]:
        console.print(
            f"{counted(predicted['runs'], 'prediction run')}, slides: {predicted['done']} done, "
            f"{predicted['failed']} failed, {predicted['waiting']} waiting."
        )
    for entry in document["protocols"]:
        _show_protocol(console, entry, document["overdue_after_days"], with_reads=with_reads)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _show_protocol(
    console: Console, entry: dict[str, Any], overdue_days: int, *, with_reads: bool
) -> None:
    signed = "signed" if entry["signed"] else "not signed"
    console.print(f"\nProtocol {entry['name']}@{entry['version']} ({signed})", markup=False)
    console.print(
        table(
            f"Reads (overdue after {overdue_days} days)",
            *_PROGRESS,
            rows=[[one[key.replace(" ", "_")] for key in _PROGRESS] for one in entry["progress"]],
        )
    )
    for counts in entry["assignments"]:
        if counts["withdrawn"]:
            console.print(
                f"Withdrawn from {counts['annotator']}: {counted(counts['withdrawn'], 'slide')}.",
                markup=False,
            )
    if with_reads:
        _show_reads(console, entry)
    _show_agreement(console, entry["agreement"])
    _show_queue(console, entry["queue"])
    if entry["triage"] is not None:
        _show_queue(console, entry["triage"], "triage")
    _show_blocked(console, entry["blocked"])


def _show_reads(console: Console, entry: dict[str, Any]) -> None:
    raters = sorted({read["annotator"] for read in entry["reads"]})
    objects = {(r["slide"], r["annotator"]): r for r in entry["reads"] if r["replicate"] == 1}
    cells: list[list[object]] = [
        [slide, *(_objects(objects.get((slide, rater))) for rater in raters)]
        for slide in sorted({read["slide"] for read in entry["reads"]})
    ]
    console.print(table("Objects read (x: excluded)", "slide", *raters, rows=cells))


def _objects(read: dict[str, Any] | None) -> str:
    if read is None:
        return "-"
    return f"{read['objects']}{' x' if read['excluded'] else ''}"


def _show_agreement(console: Console, found: dict[str, Any]) -> None:
    if found["status"] != "ok":
        console.print(f"Agreement is {found['status']}.", markup=False)
        return
    months = found["by_month"]
    shown = [*months[-_MONTHS:], {**found, "month": "so far"}]
    shown[-1]["slides"] = sum(month["slides"] for month in months)
    rows: list[list[object]] = [
        ["slides", *(str(of["slides"]) for of in shown)],
        ["all", *(_kappa(of["overall"]) for of in shown)],
        *([name, *(_kappa(of["per_class"][name]) for of in shown)] for name in found["per_class"]),
    ]
    columns = [of["month"] for of in shown]
    console.print(
        table(f"Kappa by month of the last read ({found['weights']})", "", *columns, rows=rows)
    )


def _kappa(statistic: dict[str, Any]) -> str:
    return "-" if statistic["value"] is None else f"{statistic['value']:.2f}"


def _show_queue(console: Console, queue: dict[str, Any] | None, kind: str = "run") -> None:
    if queue is None:
        console.print("No consensus run yet.")
        return
    ages = ""
    if queue["open"]:
        ages = (
            f"; open for {queue['median_age_days']:.0f} days (median), the oldest "
            f"{queue['oldest_age_days']:.0f}"
        )
    console.print(
        f"Queue of {kind} {queue['run']}: {queue['open']} open, {queue['decided']} decided{ages}."
    )


def _show_blocked(console: Console, blocked: list[dict[str, str]]) -> None:
    """Each reason once, with those it holds for."""
    alike: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in blocked:
        alike[one["kind"], one["why"], one["next"]].append(one["what"])
    for (_, why, next_step), names in alike.items():
        console.print(f"Blocked: {_some(names)}: {why}. Next: {next_step}.", markup=False)
