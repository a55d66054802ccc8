"""`agreement`, of the store's reads or of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table
from consensus.commands.detection_tables import show_detection

if TYPE_CHECKING:
    from rich.console import Console

COEFFICIENTS = {
    "percent": "weighted agreement",
    "cohen_mean": "Cohen's kappa, mean of pairs",
    "conger": "Conger's kappa",
    "fleiss": "Fleiss' kappa",
    "krippendorff": "Krippendorff's alpha",
    "gwet": "Gwet's AC",
    "brennan_prediger": "Brennan-Prediger",
}


@click.command(short_help="How far the raters agree.")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--table", "file", type=click.Path(path_type=Path), help="A CSV file; no store.")
@click.option("--classes", metavar="A,B,C", help="With --table: the classes in their order.")
@click.option(
    "--weights",
    type=click.Choice(["nominal", "linear", "quadratic"]),
    help="Default: the protocol's; for a table nominal.",
)
@click.option("--bootstrap", type=click.IntRange(min=0), help="Replicates over clusters.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--as-of", metavar="T", help="A pull's number or an ISO 8601 time.")
@click.option("--include-derived", is_flag=True, help="Count what began as our own objects.")
@click.option("--thresholds", is_flag=True, help="Of objects: match at other thresholds as well.")
@command
def agreement(
    invocation: Invocation,
    protocol: str | None,
    file: Path | None,
    classes: str | None,
    weights: str | None,
    bootstrap: int | None,
    seed: int,
    as_of: str | None,
    include_derived: bool,
    thresholds: bool,
) -> Outcome:
    """How far the raters agree: per class and overall, with intervals.

    A table has the columns item, rater and label, and may have weight and cluster.
    """
    from consensus.agreement import agreement as coefficients

    if file is not None:
        from consensus.long_table import read_table, split_classes

        if thresholds:
            raise InputError("--thresholds matches the store's objects; leave it out with --table")
        if protocol is not None or as_of is not None:
            raise InputError("--table needs no store; leave --protocol and --as-of out")
        found = coefficients(
            read_table(file, split_classes(classes)),
            weights=weights or "nominal",
            bootstrap=bootstrap or 0,
            seed=seed,
        )
        return _outcome(found.to_dict())
    if classes is not None:
        raise InputError("--classes belongs to --table; the protocol names the store's classes")
    from annotation.lookup import find_protocol
    from annotation.revisions import parse_as_of
    from consensus.objects_document import objects_part
    from consensus.study_ratings import rate

    with invocation.store.reading() as session:
        rated = rate(
            session,
            find_protocol(session, protocol),
            as_of_pull=parse_as_of(session, as_of),
            include_derived=include_derived,
            with_geometry=False,
            with_ladder=thresholds,
        )
    if thresholds and rated.detection is None:
        raise InputError(
            f"protocol {rated.row.name!r} rates {rated.protocol.task}, which have no threshold; "
            "leave --thresholds out"
        )
    found = coefficients(
        rated.ratings,
        weights=weights or rated.protocol.weights,
        bootstrap=1000 if bootstrap is None else bootstrap,
        seed=seed,
    )
    document = found.to_dict()
    document["protocol"] = f"{rated.row.name}@{rated.row.version}"
    document |= objects_part(rated, weights or rated.protocol.weights, document)
    document["excluded"] = [read.to_dict() for read in rated.excluded]
    return _outcome(document)


def _outcome(document: dict[str, Any]) -> Outcome:
    return Outcome(document, lambda console: show_agreement(console, document))


def show_agreement(console: Console, document: dict[str, Any]) -> None:
    """Print an agreement document as tables."""
    area = document.get("domain_um2")
    what = f"{counted(document['items'], 'item')}" + (f", {area / 1e6:.3g} mm2" if area else "")
    console.print(
        f"Agreement of {counted(len(document['raters']), 'rater')} on {what}; {document['weights']} weights; "
        f"{counted(document['clusters'], 'cluster')} ({document['cluster_unit']}).",
        markup=False,
    )
    if document["kappa_on"] == "placed by both":
        console.print("Nothing is negative for everyone: kappa is about what both placed.")
    # One huge slide must not drown the others unseen: areas are pooled, slides are counted.
    median = ["median of slides"] if document["weight_unit"] == "um2" else []
    rows: list[list[object]] = [
        [title, *_cells(document["coefficients"][key], bool(median))]
        for key, title in COEFFICIENTS.items()
    ]
    console.print(table(None, "coefficient", "value", "95% interval", *median, "remark", rows=rows))
    console.print(
        table(
            "Per class",
            "class",
            "kappa",
            "95% interval",
            *median,
            "dice",
            "prevalence",
            "remark",
            rows=[
                [
                    name,
                    *_cells(entry["kappa"], bool(median))[:-1],
                    _value(entry["dice"]),
                    _value(entry["prevalence"]),
                    _cells(entry["kappa"], bool(median))[-1],
                ]
                for name, entry in document["per_class"].items()
            ],
        )
    )
    found = document.get("detection")
    if found and found["f1"]["value"] is not None:
        value, interval, remark = _cells(found["f1"], False)
        console.print(f"Found by both (F1): {value} {interval} {remark}".rstrip(), markup=False)
    show_detection(console, document)
    for read in document.get("excluded", []):
        console.print(
            f"Left out: read {read['read']} of {read['slide']} by {read['annotator']}: "
            f"{read['reason']}.",
            markup=False,
        )
    for note in document.get("notes", []):
        console.print(f"Note: {note}.", markup=False)


def _value(statistic: dict[str, Any]) -> str:
    return "-" if statistic["value"] is None else f"{statistic['value']:.3f}"


def _cells(statistic: dict[str, Any], with_median: bool) -> list[object]:
    """Value, interval, perhaps the median over slides, and what stands in the way of any."""
    low, high = statistic["ci_low"], statistic["ci_high"]
    interval = "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    remarks = [s for s in (statistic["status"], statistic["ci_status"]) if s not in ("ok", None)]
    median = [_value(statistic.get("median_over_slides", {"value": None}))] if with_median else []
    return [_value(statistic), interval, *median, "; ".join(dict.fromkeys(remarks))]
