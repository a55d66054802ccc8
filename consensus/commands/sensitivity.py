"""`consensus sensitivity`: what the consensus owes to the method, and to each rater."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["consensus_sensitivity"]


@click.command("sensitivity")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--table", "file", type=click.Path(path_type=Path), help="A CSV file; no store.")
@click.option("--classes", metavar="A,B,C", help="With --table: the classes in their order.")
@click.option(
    "--method",
    type=click.Choice(["majority", "dawid-skene", "staple"]),
    default="majority",
    show_default=True,
    help="What the others are held against.",
)
@click.option("--min-raters", type=int, help="Raters an item needs; default: the protocol's.")
@command
def consensus_sensitivity(
    invocation: Invocation,
    protocol: str | None,
    file: Path | None,
    classes: str | None,
    method: str,
    min_raters: int | None,
) -> Outcome:
    """How the consensus, and each class's area, moves between methods and without each rater.

    Nothing is written. A method that is refused is listed with the reason.
    """
    from consensus.fusing.sensitivity import sensitivity

    if min_raters is not None and min_raters < 1:
        raise InputError(f"--min-raters counts from 1, not {min_raters}")
    if file is not None:
        from consensus.long_table import read_table, split_classes

        if protocol is not None:
            raise InputError("--table needs no store; leave --protocol out")
        ratings = read_table(file, split_classes(classes))
        return _outcome(sensitivity(ratings, base=method, min_raters=min_raters or 1).to_dict())
    if classes is not None:
        raise InputError("--classes belongs to --table; the protocol names the store's classes")
    from annotation.lookup import find_protocol
    from consensus.fusing.study_votes import vote_rules
    from consensus.study.slide_items import Wanted
    from consensus.study.study_ratings import rate

    with invocation.store.reading() as session:
        rated = rate(session, find_protocol(session, protocol), wanted=Wanted(geometry=False))
        rule = rated.protocol.consensus
        found = sensitivity(
            rated.ratings,
            base=method,
            quorum=rule.quorum,
            min_raters=rule.min_raters if min_raters is None else min_raters,
            votes=vote_rules(session, rated),
        )
        document = found.to_dict()
        document["protocol"] = f"{rated.row.name}@{rated.row.version}"
        document["excluded"] = [read.to_dict() for read in rated.excluded]
    return _outcome(document)


def _outcome(document: dict[str, Any]) -> Outcome:
    return Outcome(document, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    areas = document["weight_unit"] == "um2"
    scale, unit = (1e6, "mm2") if areas else (1.0, "weight")
    console.print(
        f"Consensus of {counted(len(document['raters']), 'rater')} on "
        f"{counted(document['items'], 'item')}, {document['weight'] / scale:.4g} {unit}; held "
        f"against {document['base']}. Classes in {unit}.",
        markup=False,
    )
    rows: list[list[object]] = []
    for variant in document["variants"]:
        if variant["status"] != "ok":
            rows.append([variant["variant"], *["-"] * (len(document["classes"]) + 2)])
            continue
        share = variant["changed"]["share"]
        rows.append(
            [
                variant["variant"],
                *(f"{variant['classes'][n]['weight'] / scale:.4g}" for n in document["classes"]),
                f"{variant['open']['weight'] / scale:.4g}",
                "-" if share is None else f"{share:.2%}",
            ]
        )
    columns = ("variant", *document["classes"], "(open)", "label changed")
    console.print(table(None, *columns, rows=rows))
    for variant in document["variants"]:
        if variant["status"] != "ok":
            console.print(f"{variant['variant']} {variant['status']}.", markup=False)
        for note in variant.get("notes", []):
            console.print(f"Note: {variant['variant']}: {note}.", markup=False)
    for note in document["notes"]:
        console.print(f"Note: {note}.", markup=False)
