"""`status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Where the study stands.")
@command
def status(invocation: Invocation) -> Outcome:
    """Where the study stands: who has read what, agreement so far, the queue, what is blocked."""
    from consensus.status import study_status

    with invocation.store.reading() as session:
        document = study_status(session)
    document["store"] = invocation.store.url
    return Outcome(document, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    console.print(
        f"{document['store']}: {counted(document['slides'], 'slide')}, {document['annotators']} people, "
        f"{counted(len(document['protocols']), 'protocol')}.",
        markup=False,
    )
    if document["unread_slides"]:
        names = document["unread_slides"]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        console.print(f"Nobody has read: {', '.join(names[:10])}{more}.", markup=False)
    for entry in document["protocols"]:
        _show_protocol(console, entry)


def _show_protocol(console: Console, entry: dict[str, Any]) -> None:
    signed = "signed" if entry["signed"] else "not signed"
    console.print(f"\nProtocol {entry['name']}@{entry['version']} ({signed})", markup=False)
    raters = sorted({read["annotator"] for read in entry["reads"]})
    objects = {(r["slide"], r["annotator"]): r for r in entry["reads"] if r["replicate"] == 1}
    slides = sorted({read["slide"] for read in entry["reads"]})
    cells: list[list[object]] = [
        [slide, *(_cell(objects.get((slide, rater))) for rater in raters)] for slide in slides
    ]
    for counts in entry["assignments"]:
        figures = ", ".join(f"{n} {what}" for what, n in counts.items() if what != "annotator")
        console.print(f"{counts['annotator']}: {figures}", markup=False)
    console.print(table("Objects read (x: excluded)", "slide", *raters, rows=cells))
    found = entry["agreement"]
    if found["status"] == "ok":
        kappas = ", ".join(
            f"{name} {kappa['value']:.2f}" if kappa["value"] is not None else f"{name} -"
            for name, kappa in found["per_class"].items()
        )
        console.print(f"Kappa so far ({found['weights']}): {kappas}", markup=False)
    else:
        console.print(f"Agreement is {found['status']}", markup=False)
    queue = entry["queue"]
    if queue is None:
        console.print("No consensus run yet.")
    else:
        console.print(
            f"Queue of run {queue['run']}: {queue['open']} open, {queue['decided']} decided."
        )
    for item in entry["blocked"]:
        console.print(
            f"Blocked: {item['what']}: {item['why']}. Next: {item['next']}.", markup=False
        )


def _cell(read: dict[str, Any] | None) -> str:
    if read is None:
        return "-"
    return f"{read['objects']}{' x' if read['excluded'] else ''}"
