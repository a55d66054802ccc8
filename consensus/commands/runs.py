"""`consensus run`, `show`, `list` and `table`; `sensitivity` has a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table
from consensus.commands.run_figures import show_convergence, show_quality, show_staple_per_class
from consensus.commands.sensitivity import consensus_sensitivity

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.orm import Session

    from consensus.fusing.voting import VoteKind
    from consensus.tables import ConsensusRun

METHOD = click.Choice(["majority", "dawid-skene", "staple"])


@click.group(short_help="Fuse the ratings to a consensus.")
def consensus() -> None:
    """Fuse the ratings to a consensus."""


consensus.add_command(consensus_sensitivity)


def method_options(*votes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the methods; ``votes`` are the ways to weigh them."""
    options = (
        click.option("--method", type=METHOD, default="majority", show_default=True),
        click.option(
            "--votes",
            type=click.Choice(votes),
            help="Of the majority: what a rater's vote weighs; default: equal.",
        ),
        click.option("--prior", type=float, help="Of Dawid-Skene: items in each cell beforehand."),
        click.option(
            "--starts",
            type=int,
            help="Of Dawid-Skene and STAPLE: how many fits; the likeliest is kept.",
        ),
        click.option(
            "--stopping",
            type=click.Choice(["crowd-kit", "likelihood"]),
            help="Of Dawid-Skene: what has to stop rising; default: crowd-kit's bound.",
        ),
        click.option(
            "--per-class", is_flag=True, help="Of STAPLE: also each class against the rest."
        ),
        click.option(
            "--bootstrap",
            type=click.IntRange(min=0),
            help="Replicates over clusters, for raters' quality.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of starts and replicates.",
        ),
    )

    def give(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return give


@consensus.command("run")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--min-raters", type=int, help="Raters an item needs; default: the protocol's.")
@method_options("equal", "role", "agreement")
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
    min_raters: int | None,
    method: str,
    votes: VoteKind | None,
    bootstrap: int | None,
    review_below: float | None,
    **options: Any,
) -> Outcome:
    """Fuse all reads that count, and queue what the rule leaves open.

    With --review-below, a class that is less probable than P is left open too, by the posterior
    that orders the queue: a cautious Dawid-Skene's.
    Others can pull and decide meanwhile; then it is computed again.
    A run is never changed; run again after new pulls or decisions. Decisions are inherited where
    region and labels are the same.
    """
    from annotation.lookup import find_protocol
    from consensus.fusing.rater_quality import REPLICATES
    from consensus.fusion import FusionOptions
    from consensus.running import make_run
    from consensus.runs import ComputedRun, compute_run, find_run

    def compute(session: Session) -> ComputedRun:
        return compute_run(
            session,
            find_protocol(session, protocol),
            method,
            min_raters=min_raters,
            votes=votes,
            options=FusionOptions(**options),
            bootstrap=REPLICATES if bootstrap is None else bootstrap,
            review_below=review_below,
        )

    made = make_run(invocation.store, compute)
    with invocation.store.reading() as session:
        document = _document(session, find_run(session, made))
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
@click.option("--classes", metavar="A,B,C", help="The classes in their order.")
@method_options("equal", "agreement")
@command
def consensus_table(
    _invocation: Invocation,
    file: Path,
    classes: str | None,
    method: str,
    votes: VoteKind | None,
    bootstrap: int | None,
    **options: Any,
) -> Outcome:
    """Fuse a table with the columns item, rater and label (and weight, cluster); no store."""
    from consensus.fusing.rater_quality import quality_basis, quality_document, staple_document
    from consensus.fusing.voting import agreement_votes, equal_votes
    from consensus.fusion import FusionOptions, fuse
    from consensus.long_table import read_table, split_classes

    rules = {None: None, "equal": equal_votes, "agreement": agreement_votes}
    told = FusionOptions(votes=rules[votes], **options)
    ratings = read_table(file, split_classes(classes))
    fused = fuse(ratings, method, options=told)
    drawn = {"bootstrap": bootstrap or 0, "seed": told.seed}
    labels = {
        item: None if label < 0 else fused.classes[label]
        for item, label in zip(fused.items, fused.labels.tolist(), strict=True)
    }
    posterior: dict[str, dict[str, float]] = {
        item: dict(zip(fused.classes, row, strict=True))
        for item, row in zip(fused.items, fused.posterior.tolist(), strict=True)
    }
    document: dict[str, Any] = {
        "labels": labels,
        "posterior": posterior,
        "method": method,
        "parameters": dict(fused.parameters),
        "convergence": fused.convergence,
        "raters_quality": quality_document(ratings, fused, **drawn),
        "quality_basis": quality_basis(ratings, fused, **drawn),
        "notes": [*ratings.notes, *fused.notes],
    }
    if told.per_class:
        document["staple_per_class"] = staple_document(ratings)

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
        _show_figures(console, document, 1.0, "weight")

    return Outcome(document, show)


def _show_figures(console: Console, document: dict[str, Any], scale: float, unit: str) -> None:
    """How the method ended, what its votes weighed, and how good its raters were."""
    weights = document["parameters"].get("vote_weights")
    if weights:
        told = ", ".join(f"{rater} {weight:.3g}" for rater, weight in weights.items())
        console.print(f"Votes by {document['parameters']['votes']}: {told}.", markup=False)
    show_convergence(console, document)
    show_quality(console, document, scale, unit)
    show_staple_per_class(console, document, scale, unit)
    for note in document["notes"]:
        console.print(f"Note: {note}.", markup=False)


def _document(session: Session, run: ConsensusRun) -> dict[str, Any]:
    from annotation.tables import ProtocolVersion
    from consensus.queue.decisions import answers_in_force

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
    _show_figures(console, run, scale, unit)
    if run["disputes"] > run["decided"]:
        console.print("Next: `pathquorum adjudicate list`.")
