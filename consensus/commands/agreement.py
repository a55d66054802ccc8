"""`agreement`, of the store's reads or of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table
from consensus.commands.boundary_table import show_boundary
from consensus.commands.comparison_tables import (
    COEFFICIENTS,
    interval_text,
    show_comparisons,
    value_text,
)
from consensus.commands.detection_tables import show_detection
from consensus.commands.version_tables import show_versions

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.protocol import Protocol
    from consensus.weights_file import ClassWeights

ADJUDICATED = "adjudicated"
"""The reference that is a consensus run and not a rater."""

WEIGHTS = click.Choice(["nominal", "linear", "quadratic"])
INTERVAL = click.option(
    "--interval",
    type=click.Choice(["expanded", "bca", "percentile"]),
    default="expanded",
    show_default=True,
    help="Of the bootstrap; expanded is BCa, widened for few clusters.",
)


@click.command(short_help="How far the raters agree.")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--table", "file", type=click.Path(path_type=Path), help="A CSV file; no store.")
@click.option("--classes", metavar="A,B,C", help="With --table: the classes in their order.")
@click.option("--weights", type=WEIGHTS, help="Default: the protocol's; for a table nominal.")
@click.option(
    "--weights-file",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Disagreement of every two classes: a square table, 0 on its diagonal.",
)
@click.option("--bootstrap", type=click.IntRange(min=0), help="Replicates over clusters.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@INTERVAL
@click.option(
    "--reference",
    metavar="RATER|adjudicated",
    help="Compare the raters with one of them, or with a consensus run and its decisions.",
)
@click.option("--run", type=int, help="With --reference adjudicated; default: the latest run.")
@click.option("--as-of", metavar="T", help="A pull's number or an ISO 8601 time.")
@click.option("--include-derived", is_flag=True, help="Count what began as our own objects.")
@click.option(
    "--tolerance-um",
    type=click.FloatRange(min=0),
    help="Of regions: also without strips along boundaries up to this wide; default: the protocol's.",
)
@click.option("--thresholds", is_flag=True, help="Of objects: match at other thresholds as well.")
@click.option("--versions", is_flag=True, help="All versions of the protocol, side by side.")
@command
def agreement(
    invocation: Invocation,
    protocol: str | None,
    file: Path | None,
    classes: str | None,
    weights: str | None,
    weights_file: Path | None,
    bootstrap: int | None,
    seed: int,
    interval: str,
    reference: str | None,
    run: int | None,
    as_of: str | None,
    include_derived: bool,
    thresholds: bool,
    tolerance_um: float | None,
    versions: bool,
) -> Outcome:
    """How far the raters agree: per class and overall, with intervals.

    Also each rater against the consensus of the others, against a reference, and against their
    own earlier reads. A table has the columns item, rater and label, and may have weight, cluster
    and replicate.
    """
    from consensus.weights_file import read_weights

    if weights is not None and weights_file is not None:
        raise InputError("--weights and --weights-file say the same thing; give one of them")
    if run is not None and (file is not None or reference != ADJUDICATED):
        raise InputError(f"--run belongs to --reference {ADJUDICATED} in a store")
    if versions:
        others = (file, classes, weights, weights_file, reference, run, tolerance_um)
        if any(other is not None for other in others) or thresholds:
            raise InputError(
                "--versions holds the versions of a protocol against each other by their own "
                "rules; leave --table, --weights, --reference, --thresholds and --tolerance-um out"
            )
        return _of_versions(
            invocation, protocol, (bootstrap, seed, interval), as_of, include_derived
        )
    custom = None if weights_file is None else read_weights(weights_file)
    if file is not None:
        if tolerance_um is not None:
            raise InputError(
                "--tolerance-um is about the store's regions; leave it out with --table"
            )
        if thresholds:
            raise InputError("--thresholds matches the store's objects; leave it out with --table")
        if protocol is not None or as_of is not None or include_derived:
            raise InputError(
                "--table needs no store; leave --protocol, --as-of and --include-derived out"
            )
        drawn = bootstrap or 0, seed, interval
        return _outcome(_of_table(file, classes, weights, custom, drawn, reference))
    if classes is not None:
        raise InputError("--classes belongs to --table; the protocol names the store's classes")
    if reference == ADJUDICATED and (as_of is not None or include_derived):
        raise InputError(
            f"--reference {ADJUDICATED} takes the raters as the run saw them; leave --as-of and "
            "--include-derived out"
        )
    from annotation.lookup import find_protocol
    from annotation.revisions import parse_as_of
    from annotation.study import protocol_of
    from consensus.comparing.boundary_document import boundary_part
    from consensus.comparing.comparisons import Method, against_others, rater_reference
    from consensus.comparing.objects_document import objects_part
    from consensus.study.replicates import rate_replicates
    from consensus.study.run_reference import run_for, run_reference
    from consensus.study.slide_items import Wanted
    from consensus.study.study_ratings import rate

    with invocation.store.reading() as session:
        row = find_protocol(session, protocol)
        of_run = None
        if reference == ADJUDICATED:
            of_run = run_reference(session, run_for(session, row, run))
        as_of_pull = parse_as_of(session, as_of)
        rated = rate(
            session,
            row,
            as_of_pull=as_of_pull,
            include_derived=include_derived,
            wanted=Wanted(
                geometry=False,
                ladder=thresholds,
                tolerance_um=_tolerance(tolerance_um, protocol_of(row)),
            ),
        )
        repeated = rate_replicates(
            session, row, as_of_pull=as_of_pull, include_derived=include_derived
        )
    if thresholds and rated.detection is None:
        raise InputError(
            f"protocol {rated.row.name!r} rates {rated.protocol.task}, which have no threshold; "
            "leave --thresholds out"
        )
    ratings = rated.ratings
    method = Method(
        (weights or rated.protocol.weights) if custom is None else custom.of(ratings.classes),
        1000 if bootstrap is None else bootstrap,
        seed,
        interval,
    )
    document = method.agreement(ratings).to_dict()
    document["others"] = against_others(ratings, method)
    document["intra_rater"] = repeated.compared(method)
    if of_run is not None:
        document["reference"] = of_run.compared(method)
    elif reference is not None:
        document["reference"] = rater_reference(ratings, reference, method)
    document["protocol"] = f"{rated.row.name}@{rated.row.version}"
    document |= objects_part(rated, method.weights, document)
    document |= boundary_part(rated, method)
    document["excluded"] = [read.to_dict() for read in rated.excluded]
    return _outcome(document)


def _tolerance(asked_um: float | None, protocol: Protocol) -> float:
    """The width of strips: what is asked for, else the protocol's."""
    if asked_um is not None and protocol.task != "regions":
        raise InputError(
            f"protocol {protocol.name!r} rates {protocol.task}, which have no boundaries in common; "
            "leave --tolerance-um out"
        )
    return protocol.dispute.tolerance_um if asked_um is None else asked_um


def _of_versions(
    invocation: Invocation,
    protocol: str | None,
    drawn: tuple[int | None, int, str],
    as_of: str | None,
    include_derived: bool,
) -> Outcome:
    """All versions of a protocol, each held against the one before."""
    from annotation.lookup import find_protocol
    from annotation.revisions import parse_as_of
    from consensus.comparing.versions import Resampling, compare_versions

    bootstrap, seed, interval = drawn
    with invocation.store.reading() as session:
        document = compare_versions(
            session,
            find_protocol(session, protocol).name,
            Resampling(1000 if bootstrap is None else bootstrap, seed, interval),
            as_of_pull=parse_as_of(session, as_of),
            include_derived=include_derived,
        )
    return Outcome(document, lambda console: show_versions(console, document))


def _of_table(
    file: Path,
    classes: str | None,
    weights: str | None,
    custom: ClassWeights | None,
    drawn: tuple[int, int, str],
    reference: str | None,
) -> dict[str, Any]:
    """The document of a table."""
    from consensus.comparing.comparisons import (
        Method,
        against_others,
        rater_reference,
        within_raters,
    )
    from consensus.long_table import read_long_table, split_classes

    declared = split_classes(classes)
    if declared is None and custom is not None:
        declared = list(custom.classes)
    table = read_long_table(file, declared)
    ratings = table.ratings
    chosen = (weights or "nominal") if custom is None else custom.of(ratings.classes)
    method = Method(chosen, *drawn)
    document = method.agreement(ratings).to_dict()
    document["others"] = against_others(ratings, method)
    document["intra_rater"] = within_raters(table.replicates, method)
    if reference is not None:
        document["reference"] = rater_reference(ratings, reference, method)
    return document


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
                    value_text(entry["dice"]),
                    value_text(entry["prevalence"]),
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
    show_boundary(console, document, COEFFICIENTS)
    show_comparisons(console, document)
    show_detection(console, document)
    for read in document.get("excluded", []):
        console.print(
            f"Left out: read {read['read']} of {read['slide']} by {read['annotator']}: "
            f"{read['reason']}.",
            markup=False,
        )
    for note in document.get("notes", []):
        console.print(f"Note: {note}.", markup=False)


def _cells(statistic: dict[str, Any], with_median: bool) -> list[object]:
    """Value, interval, perhaps the median over slides, and what stands in the way of any."""
    remarks = [s for s in (statistic["status"], statistic["ci_status"]) if s not in ("ok", None)]
    median = (
        [value_text(statistic.get("median_over_slides", {"value": None}))] if with_median else []
    )
    return [
        value_text(statistic),
        interval_text(statistic),
        *median,
        "; ".join(dict.fromkeys(remarks)),
    ]
