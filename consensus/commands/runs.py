"""`consensus run`, `show`, `list` and `table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.orm import Session

    from consensus.tables import ConsensusRun

METHOD = click.Choice(["majority", "dawid-skene", "staple"])


@click.group(short_help="Fuse the ratings to a consensus.")
def consensus() -> None:
    """Fuse the ratings to a consensus."""


@consensus.command("run")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--method", type=METHOD, default="majority", show_default=True)
@click.option("--min-raters", type=int, help="Raters an item needs; default: the protocol's.")
@click.option(
    "--review-below",
    type=float,
    metavar="P",
    help="Dispute also what is less probable than this.",
)
@command
def consensus_run(
    invocation: Invocation,
    protocol: str | None,
    method: str,
    min_raters: int | None,
    review_below: float | None,
) -> Outcome:
    """Fuse all reads that count, and queue what the rule leaves open.

    With --review-below, a class that is less probable than P is left open too, by the posterior
    that orders the queue: a cautious Dawid-Skene's.
    A run is never changed; run again after new pulls or decisions. Decisions are inherited where
    region and labels are the same.
    """
    from annotation.lookup import find_protocol
    from consensus.runs import consensus_run as make_run

    with invocation.store.writing() as session:
        run = make_run(
            session,
            find_protocol(session, protocol),
            method,
            min_raters=min_raters,
            review_below=review_below,
        )
        document = _document(session, run)
    return Outcome(document, lambda console: _show_run(console, document))


@consensus.command("show")
@click.argument("run", type=int)
@command
def consensus_show(invocation: Invocation, run: int) -> Outcome:
    """Show what a run found, and how far its queue has been worked off."""
    from consensus.runs import find_run

    with invocation.store.reading() as session:
        document = _document(session, find_run(session, run))
    return Outcome(document, lambda console: _show_run(console, document))


@consensus.command("list")
@command
def consensus_list(invocation: Invocation) -> Outcome:
    """List the runs."""
    from sqlalchemy import select

    from consensus.tables import ConsensusRun

    with invocation.store.reading() as session:
        runs = session.scalars(select(ConsensusRun).order_by(ConsensusRun.id)).all()
        rows = [_document(session, run) for run in runs]
    return Outcome(
        {"runs": rows},
        lambda console: console.print(
            table(
                None,
                "run",
                "protocol",
                "method",
                "slides",
                "items",
                "disputes",
                "decided",
                "at (UTC)",
                rows=[
                    [
                        r["run"],
                        r["protocol"],
                        r["method"],
                        r["slides"],
                        r["items"],
                        r["disputes"],
                        r["decided"],
                        f"{r['at']:%Y-%m-%d %H:%M}",
                    ]
                    for r in rows
                ],
            )
        ),
    )


@consensus.command("table")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--method", type=METHOD, default="majority", show_default=True)
@click.option("--classes", metavar="A,B,C", help="The classes in their order.")
@command
def consensus_table(
    _invocation: Invocation, file: Path, method: str, classes: str | None
) -> Outcome:
    """Fuse a table with the columns item, rater and label (and weight, cluster); no store."""
    from consensus.fusion import fuse
    from consensus.long_table import read_table, split_classes

    fused = fuse(read_table(file, split_classes(classes)), method)
    labels = {
        item: None if label < 0 else fused.classes[label]
        for item, label in zip(fused.items, fused.labels.tolist(), strict=True)
    }
    posterior: dict[str, dict[str, float]] = {
        item: dict(zip(fused.classes, row, strict=True))
        for item, row in zip(fused.items, fused.posterior.tolist(), strict=True)
    }

    def show(console: Console) -> None:
        still_open = sum(label is None for label in labels.values())
        console.print(
            f"{counted(len(labels), 'item')}, {still_open} without a consensus ({method})."
        )
        rows: list[list[object]] = [
            [item, label or "open", max(posterior[item].values())]
            for item, label in list(labels.items())[:50]
        ]
        console.print(table(None, "item", "consensus", "posterior", rows=rows))
        if len(labels) > len(rows):
            console.print(f"and {len(labels) - len(rows)} more; --json prints them all.")

    return Outcome({"labels": labels, "posterior": posterior}, show)


def _document(session: Session, run: ConsensusRun) -> dict[str, Any]:
    from annotation.tables import ProtocolVersion
    from consensus.decisions import answers_in_force

    row = session.get_one(ProtocolVersion, run.protocol_id)
    return {
        "run": run.id,
        "method": run.method,
        "protocol": f"{row.name}@{row.version}",
        "at": run.at,
        "parameters": run.parameters,
        "input_digest": run.input_digest,
        **run.summary,
        "decided": len(answers_in_force(session, run)),
    }


def _show_run(console: Console, run: dict[str, Any]) -> None:
    unit = "mm2" if run["weight_unit"] == "um2" else "weight"
    scale = 1e6 if run["weight_unit"] == "um2" else 1.0
    console.print(
        f"Consensus run {run['run']}: {run['method']} over {counted(run['items'], 'item')} on "
        f"{counted(run['slides'], 'slide')} by {counted(len(run['raters']), 'rater')} ({run['protocol']}).",
        markup=False,
    )
    rows: list[list[object]] = [
        [name, entry["items"], entry["weight"] / scale] for name, entry in run["classes"].items()
    ]
    rows += [
        [f"({state})", entry["items"], entry["weight"] / scale]
        for state, entry in run["open"].items()
    ]
    console.print(table(None, "class", "items", unit, rows=rows))
    console.print(
        f"{counted(run['disputes'], 'dispute')}, {run['decided']} of them decided "
        f"({run['inherited']} inherited from earlier runs)."
    )
    for read in run["excluded"]:
        console.print(
            f"Left out: read {read['read']} of {read['slide']} by {read['annotator']}: "
            f"{read['reason']}.",
            markup=False,
        )
    for note in run["notes"]:
        console.print(f"Note: {note}.", markup=False)
    if run["disputes"] > run["decided"]:
        console.print("Next: `pathquorum adjudicate list`.")
