"""`drift`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.commands.dates import DATE, as_date
from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Notice when slides, predictions or readers change.")
@click.option(
    "--predictions", required=True, metavar="NAME|NUMBER", help="The prediction run to look at."
)
@click.option(
    "--reference",
    metavar="NAME|NUMBER",
    help="The run to hold it against; default: the same model's over its release.",
)
@click.option("--since", type=DATE, metavar="DATE", help="Only slides added on or after this day.")
@click.option("--until", type=DATE, metavar="DATE", help="Only slides added up to this day.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder for drift.json, drift.html and pictures.",
)
@click.option("--permutations", type=int, default=999, show_default=True, help="Of patients.")
@click.option(
    "--alpha",
    type=float,
    default=0.01,
    show_default=True,
    help="How often a check may alarm where nothing has changed.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the permutations.")
@command
def drift(
    invocation: Invocation,
    predictions: str,
    reference: str | None,
    since: datetime | None,
    until: datetime | None,
    folder: Path,
    permutations: int,
    alpha: float,
    seed: int,
) -> Outcome:
    """Notice when slides, what the model says of them, or readers differ from the reference.

    The reference are slides of the model's release that it was not trained on. The exit status is 1
    where an indicator alarms, so that a scheduler can act; all figures are printed as well. With
    fewer than 5 patients on a side nothing is tested, and that is said.
    """
    from models.drift.selection import Asked
    from models.drift.written import write_drift

    asked = Asked(
        predictions=predictions,
        reference=reference,
        since=as_date(since),
        until=as_date(until),
        permutations=permutations,
        alpha=alpha,
        seed=seed,
    )
    document = {**write_drift(invocation.store, asked, folder), "folder": str(folder)}
    for note in document["notes"]:
        invocation.say(f"Note: {note}.")
    return Outcome(
        document, lambda console: _show(console, document), status=1 if document["alarm"] else 0
    )


def _show(console: Console, document: dict[str, Any]) -> None:
    from models.drift.page import rows_of, told_in_brief

    rows: list[list[object]] = []
    group = None
    for row in rows_of(document):
        if row.group != group:
            group = row.group
            rows.append([row.group.upper(), "", "", "", "", "", "", ""])
        told = [row.change, row.psi, row.p_adjusted, "ALARM" if row.alarm else ""]
        if row.undefined is not None:
            told = [row.undefined, "", "", ""]
        rows.append([row.title, row.patients, row.reference, row.current, *told])
    slides, patients = document["slides"], document["patients"]
    console.print(
        table(
            f"{document['predictions']} against {document['reference']}: "
            f"{counted(slides['current'], 'slide')} of {counted(patients['current'], 'patient')} "
            f"now, {slides['reference']:,} of {patients['reference']:,} in the reference",
            "indicator", "patients", "reference", "now", "change", "PSI", "p, adjusted", "",
            rows=rows,
        )
    )  # fmt: skip
    console.print(told_in_brief(document), markup=False, soft_wrap=True)
    console.print(f"Page: {document['folder']}/drift.html", markup=False, soft_wrap=True)
