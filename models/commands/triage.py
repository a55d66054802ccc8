"""`triage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Bring what a model is not sure of to a person.")
@click.option(
    "--predictions", required=True, metavar="RUN", help="The prediction run, by name or number."
)
@click.option(
    "--calibrate-on",
    metavar="RUN",
    help="The prediction run that holds the calibration part; default: the same one.",
)
@click.option("--positive", required=True, metavar="CLASS,...", help="What must not be missed.")
@click.option(
    "--target",
    default="sensitivity=0.98",
    show_default=True,
    metavar="sensitivity=P",
    help="What has to be shown.",
)
@click.option(
    "--confidence", type=float, default=0.95, show_default=True, help="Of its one-sided bound."
)
@click.option(
    "--most",
    type=click.IntRange(1),
    metavar="N",
    help="Escalate the N least sure instead, and show nothing by that.",
)
@click.option(
    "--measure",
    type=click.Choice(
        ["mutual-information", "entropy", "variance", "max-probability", "max-softmax",
         "plain-entropy"]
    ),
    default="mutual-information",
    show_default=True,
    help="Of the model's uncertainty; the last two are those of a single pass.",
)  # fmt: skip
@click.option(
    "--unit",
    type=click.Choice(["slides", "regions"]),
    help="What is escalated; default: what the protocol rates.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder for the list of slides, and for coverage against risk as table and picture.",
)
@click.option("--bootstrap", type=int, default=1000, show_default=True, help="Replicates.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the two halves and the bootstrap."
)
@click.option("--dry-run", is_flag=True, help="Say what would be escalated; store nothing.")
@command
def triage(
    invocation: Invocation,
    predictions: str,
    calibrate_on: str | None,
    positive: str,
    target: str,
    confidence: float,
    most: int | None,
    measure: str,
    unit: str | None,
    folder: Path | None,
    bootstrap: int,
    seed: int,
    dry_run: bool,
) -> Outcome:
    """Put the slides or regions that a model is not sure of into the adjudicator's queue.

    The threshold is chosen on one half of the patients of the calibration part, and the other half
    has to show the target: a sensitivity, positives escalated or called positive over all, with its
    exact lower bound. Patients are counted; one is caught where all of their positives are. With too
    few of them it is refused, and says how many are needed.

    Slides of the model's release are not triaged. What is decided on a triage is AI-assisted: the
    next `consensus run` counts it as one rating, and one alone is too few.
    """
    from models.triage.threshold import Aim
    from models.triage.triage import Request
    from models.triage.triage import triage as make_triage

    request = Request(
        predictions=predictions,
        calibrate_on=calibrate_on,
        positive=tuple(name.strip() for name in positive.split(",") if name.strip()),
        aim=Aim(_sensitivity(target), confidence, seed),
        measure=measure,
        unit=unit,
        bootstrap=bootstrap,
        most=most,
    )
    document = make_triage(invocation.store, request, folder=folder, dry_run=dry_run)
    for note in document["notes"]:
        invocation.say(f"Note: {note}.")
    return Outcome(document, lambda console: _show(console, document))


def _sensitivity(target: str) -> float:
    """The number in ``sensitivity=0.98``."""
    name, equals, number = (piece.strip() for piece in target.partition("="))
    try:
        value = float(number)
    except ValueError:
        value = None
    if name != "sensitivity" or not equals or value is None:
        raise InputError(f"--target {target!r} names no sensitivity; write sensitivity=0.98")
    return value


def _show(console: Console, document: dict[str, Any]) -> None:
    unit, triaged = document["unit"], document["triaged"]
    console.print(
        f"Model {document['model']}, predictions {document['predictions']}: {_rule(document)} "
        f"escalated, {triaged['escalated']} of {triaged['units']} {unit}; {triaged['automatic']} are "
        "left to the model.",
        markup=False,
        soft_wrap=True,
    )
    if document["calibration"] is None:
        console.print("How much the model misses among them is not known.")
    else:
        _show_calibration(console, document)
    _show_curves(console, document["coverage_risk"])
    if document["triage"] is None:
        console.print("A dry run: nothing was stored.")
    elif not document["added"]:
        console.print(
            f"Triage {document['triage']} holds this already; nothing was added.", markup=False
        )
    else:
        console.print(
            f"Triage {document['triage']}: {counted(document['added'], 'dispute')}, "
            f"{document['inherited']} decided before. Next: `pathquorum adjudicate list --run "
            f"{document['triage']}`.",
            markup=False,
        )


def _rule(document: dict[str, Any]) -> str:
    if document["calibration"] is None:
        return f"the least sure by {document['measure']} are"
    if document["threshold"] is None:
        return "nothing is"
    return f"{document['measure']} {document['threshold']:.4g} or more is"


def _show_calibration(console: Console, document: dict[str, Any]) -> None:
    unit, fitted, target = document["unit"], document["calibration"], document["target"]
    rows: list[list[object]] = [
        [
            what, one["patients"], one["caught"],
            "-" if one["value"] is None else f"{one['value']:.4f}", f"{one['lower']:.4f}",
            f"{one['positives_caught']} of {one['positives']}",
        ]
        for what, one in (
            ("escalated or called positive", fitted["sensitivity"]),
            ("called positive, of the automatic", fitted["automatic"]),
        )
    ]  # fmt: skip
    console.print(
        table(
            f"On the half of the calibration part that did not choose the threshold, "
            f"{counted(fitted['bounding']['patients'], 'patient')}",
            "positives", "patients", "caught", "sensitivity", f"at least ({target['confidence']:.0%})",
            unit,
            rows=rows,
        )
    )  # fmt: skip
    console.print(
        f"Asked for: {target['sensitivity']:g}. {fitted['automatic_share']:.1%} of its {unit} are left "
        f"to the model; the other half, {counted(fitted['choosing']['patients'], 'patient')}, chose "
        f"the threshold (seed {document['seed']}).",
        markup=False,
        soft_wrap=True,
    )


def _show_curves(console: Console, curves: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [one["measure"], *_cells(one["aurc"]), *_cells(one["difference"])]
        for one in curves["measures"]
    ]
    console.print(
        table(
            f"Area under coverage against risk: {counted(curves['units'], 'unit')}, "
            f"{counted(curves['patients'], 'patient')}, {counted(curves['errors'], 'error')}",
            "measure", "area", "95 % interval", "first minus this", "95 % interval",
            rows=rows,
        )
    )  # fmt: skip


def _cells(statistic: dict[str, Any] | None) -> list[object]:
    if statistic is None or statistic["value"] is None:
        return ["-", "" if statistic is None else statistic["status"]]
    low, high = statistic["ci_low"], statistic["ci_high"]
    interval = statistic["ci_status"] if low is None else f"{low:.3f} to {high:.3f}"
    return [f"{statistic['value']:.3f}", interval]
