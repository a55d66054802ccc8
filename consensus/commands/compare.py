"""`compare`, of two tables or of two arms in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table
from consensus.commands.agreement import INTERVAL, WEIGHTS
from consensus.commands.comparison_tables import COEFFICIENTS, interval_text, value_text

if TYPE_CHECKING:
    from rich.console import Console

    from consensus.comparing.arms import Arm
    from consensus.weights_file import ClassWeights

FILE = click.Path(path_type=Path)


@click.command(short_help="By how much two arms differ.")
@click.argument("first_file", metavar="[BEFORE.csv]", required=False, type=FILE)
@click.argument("second_file", metavar="[AFTER.csv]", required=False, type=FILE)
@click.option("--protocol", metavar="NAME", help="The first arm's protocol, or NAME@VERSION.")
@click.option("--with", "second", metavar="NAME", help="The second's; default: the same.")
@click.option("--as-of", metavar="T", help="The first arm as it stood then.")
@click.option("--with-as-of", metavar="T", help="The second arm as it stood then.")
@click.option("--replicate", type=click.IntRange(min=1), default=1, help="Reads of the first arm.")
@click.option("--with-replicate", type=click.IntRange(min=1), default=1, help="Of the second.")
@click.option("--classes", metavar="A,B,C", help="With tables: the classes in their order.")
@click.option("--weights", type=WEIGHTS, help="Default: the first protocol's; for tables nominal.")
@click.option(
    "--weights-file",
    type=FILE,
    metavar="FILE.csv",
    help="Disagreement of every two classes: a square table, 0 on its diagonal.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Replicates over the clusters that both arms hold.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@INTERVAL
@command
def compare(
    invocation: Invocation,
    first_file: Path | None,
    second_file: Path | None,
    protocol: str | None,
    second: str | None,
    as_of: str | None,
    with_as_of: str | None,
    replicate: int,
    with_replicate: int,
    classes: str | None,
    weights: str | None,
    weights_file: Path | None,
    bootstrap: int,
    seed: int,
    interval: str,
) -> Outcome:
    """By how much agreement differs between two arms, with a paired bootstrap.

    Arms are two tables, or reads in the store: under two protocol versions, at two moments, or
    of two replicates (as without and with a suggestion). Both are taken on the patients that both
    hold, and drawn together; the difference is the second arm less the first.
    """
    from consensus.comparing.arms import compare as difference
    from consensus.weights_file import read_weights

    if weights is not None and weights_file is not None:
        raise InputError("--weights and --weights-file say the same thing; give one of them")
    custom = None if weights_file is None else read_weights(weights_file)
    of_store = (protocol, second, as_of, with_as_of) != (None,) * 4
    notes: tuple[str, ...] = ()
    if first_file is not None:
        if second_file is None:
            raise InputError(f"{first_file} has nothing to be compared with; name a second table")
        if of_store or replicate != 1 or with_replicate != 1:
            raise InputError("two tables need no store; leave the options of its arms out")
        arms = _tables(first_file, second_file, classes, weights, custom)
    else:
        if classes is not None:
            raise InputError("--classes belongs to tables; the protocol names the store's classes")
        sides = (protocol, as_of, replicate), (second or protocol, with_as_of, with_replicate)
        if sides[0] == sides[1]:
            raise InputError(
                "both arms are the same reads; name the second with --with, --with-as-of or "
                "--with-replicate"
            )
        arms, notes = _store_arms(invocation, sides, weights, custom)
    document = difference(*arms, bootstrap=bootstrap, seed=seed, interval=interval).to_dict()
    document["notes"] += notes
    return Outcome(document, lambda console: _show(console, document))


def _tables(
    first: Path, second: Path, classes: str | None, weights: str | None, custom: ClassWeights | None
) -> tuple[Arm, Arm]:
    from consensus.comparing.arms import Arm, with_common_classes
    from consensus.long_table import read_table, split_classes

    declared = split_classes(classes)
    if declared is None and custom is not None:
        declared = list(custom.classes)
    pair = read_table(first, declared), read_table(second, declared)
    if declared is None:
        pair = with_common_classes(*pair)
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    chosen = (weights or "nominal") if custom is None else custom.of(pair[0].classes)
    return Arm(names[0], pair[0], chosen), Arm(names[1], pair[1], chosen)


def _store_arms(
    invocation: Invocation,
    sides: tuple[tuple[str | None, str | None, int], tuple[str | None, str | None, int]],
    weights: str | None,
    custom: ClassWeights | None,
) -> tuple[tuple[Arm, Arm], tuple[str, ...]]:
    """The arms, and what is to be known of two versions of one protocol."""
    from annotation.lookup import find_protocol
    from annotation.revisions import parse_as_of
    from consensus.comparing.arms import Arm
    from consensus.comparing.version_arms import version_arms
    from consensus.study.slide_items import Wanted
    from consensus.study.study_ratings import rate

    arms, found = [], []
    with invocation.store.reading() as session:
        for protocol, as_of, replicate in sides:
            row = find_protocol(session, protocol)
            rated = rate(
                session,
                row,
                as_of_pull=parse_as_of(session, as_of),
                wanted=Wanted(geometry=False),
                replicate=replicate,
            )
            found.append(rated)
            name = f"{row.name}@{row.version}"
            name += f" replicate {replicate}" if sides[0][2] != sides[1][2] else ""
            name += f" as of {as_of}" if as_of is not None else ""
            chosen = weights or found[0].protocol.weights
            arms.append(
                Arm(
                    name,
                    rated.ratings,
                    chosen if custom is None else custom.of(rated.ratings.classes),
                )
            )
    first, second = found
    versions = first.row.name == second.row.name and first.row.id != second.row.id
    if not versions or custom is not None or first.protocol.task != second.protocol.task:
        return (arms[0], arms[1]), ()
    aligned = version_arms(first, second, weights, names=(arms[0].name, arms[1].name))
    return aligned.arms, aligned.notes


def _show(console: Console, document: dict[str, Any]) -> None:
    first, second = document["arms"]
    unit, shared = document["cluster_unit"], document["shared_clusters"]
    console.print(
        f"{second['name']} less {first['name']}, on {counted(shared, 'cluster')} ({unit}) that both "
        f"hold; {first['weights']} weights.",
        markup=False,
    )
    for arm in (first, second):
        told = f"{arm['name']}: {counted(arm['items'], 'item')}, {len(arm['raters'])} raters"
        if arm["clusters_not_shared"]:
            told += f"; {counted(arm['clusters_not_shared'], 'cluster')} not shared and left out"
        console.print(f"{told}.", markup=False)
    for side, arm in (("first_only", first), ("second_only", second)):
        if document["raters"][side]:
            console.print(
                f"Only in {arm['name']}: {', '.join(document['raters'][side])}.", markup=False
            )
    head = ("first", "second", "difference", "95% interval", "remark")
    difference = document["difference"]
    rows = [
        [
            title,
            *_cells(
                difference["coefficients"][key], *(a["coefficients"][key] for a in (first, second))
            ),
        ]
        for key, title in COEFFICIENTS.items()
    ]
    console.print(table(None, "coefficient", *head, rows=rows))
    rows = [
        [name, *_cells(figures["kappa"], *(a["per_class"][name]["kappa"] for a in (first, second)))]
        for name, figures in difference["per_class"].items()
    ]
    console.print(table("Kappa per class", "class", *head, rows=rows))
    for note in document["notes"]:
        console.print(f"Note: {note}.", markup=False)


def _cells(
    difference: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> list[object]:
    remarks = [s for s in (difference["status"], difference["ci_status"]) if s != "ok"]
    return [
        value_text(first),
        value_text(second),
        value_text(difference, signed=True),
        interval_text(difference, signed=True),
        "; ".join(dict.fromkeys(remarks)),
    ]
