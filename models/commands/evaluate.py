"""`evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Judge a model on slides that it has not seen.")
@click.option(
    "--model", required=True, metavar="FOLDER|NAME", help="The model that `train` made, by either."
)
@click.option("--release", required=True, metavar="NAME", help="The release to judge it on.")
@click.option(
    "--features",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that `encode` wrote; for all models but unet and smp.",
)
@click.option(
    "--slides-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the slides lie now, if they were moved; for unet and smp.",
)
@click.option("--part", default="test", show_default=True, help="A part of the split.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder for evaluation.json, card.html, reliability.svg and review.csv.",
)
@click.option(
    "--baseline",
    metavar="FOLDER|NAME",
    help="A model to hold it against; default: the one that was trained beside it.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Fit the temperature on the part calibration and write it into the model.",
)
@click.option(
    "--review",
    type=click.Path(path_type=Path),
    metavar="TARGET",
    help="A project.qpproj, or a folder for GeoJSON, for what bears a doubted label.",
)
@click.option(
    "--external",
    metavar="SITE",
    help="Hold a site that the model has not seen against the part's slides of the other sites.",
)
@click.option("--bootstrap", type=int, default=1000, show_default=True, help="Replicates.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--allow-missing", is_flag=True, help="Leave out slides without features or image.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@command
def evaluate(
    invocation: Invocation,
    model: str,
    release: str,
    features: Path | None,
    slides_root: Path | None,
    part: str,
    folder: Path,
    baseline: str | None,
    calibrate: bool,
    review: Path | None,
    external: str | None,
    bootstrap: int,
    seed: int,
    allow_missing: bool,
    device: str,
) -> Outcome:
    """Judge a model on a part of a release, and write its model card.

    Figures come with intervals over patients, beside those of each expert and of the baseline. A
    part that the model was trained on is refused. With slides left out the exit status is 1.
    """
    from models.commands.left_out import require_none_left_out
    from models.evaluation.evaluation import Request
    from models.evaluation.written import write_evaluation
    from models.training.devices import device_named

    request = Request(
        release=release,
        features=features,
        slides_root=slides_root,
        part=part,
        bootstrap=bootstrap,
        seed=seed,
        calibrate=calibrate,
        allow_missing=allow_missing,
        external=external,
    )
    written = write_evaluation(
        invocation.store,
        model,
        request,
        folder,
        baseline=baseline,
        review=review,
        device=device_named(device),
    )
    for note in written.document["notes"]:
        invocation.say(f"Note: {note}.")
    require_none_left_out(written.document["skipped"], f"the evaluation is in {folder}")
    document = {**written.document, "folder": str(folder)}
    if written.reviewed is not None:
        document["reviewed"] = written.reviewed.to_dict()
    return Outcome(document, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    from models.evaluation.card import TITLES, drops_of, verdicts_of

    baseline = document["baseline"]
    columns = ["figure", "model", "95 % interval"]
    if baseline is not None:
        columns += ["baseline", "difference", "95 % interval"]
    rows = []
    for kind, title in TITLES.items():
        if kind not in document["figures"]:
            continue
        row: list[object] = [title, *_cells(document["figures"][kind])]
        if baseline is not None:
            row += [_cells(baseline["figures"][kind])[0], *_cells(baseline["difference"][kind])]
        rows.append(row)
    amount = counted(document["items"], document["item"])
    console.print(
        table(
            f"{document['model']['name']} on part {document['part']} of release "
            f"{document['release']}: {amount}, {counted(document['patients'], 'patient')}; "
            f"{document['weights']} weights",
            *columns,
            rows=rows,
        )
    )
    for line in verdicts_of(document):
        console.print(f"{line}.", markup=False, soft_wrap=True)
    for line in drops_of(document):
        console.print(f"{line}.", markup=False, soft_wrap=True)
    doubted = counted(len(document["label_issues"]), "label")
    console.print(
        f"{doubted} worth another look, in {document['folder']}/{document['files']['review']}.",
        markup=False,
        soft_wrap=True,
    )
    card = f"{document['folder']}/{document['files']['card']}"
    console.print(f"Model card: {card}", markup=False, soft_wrap=True)


def _cells(statistic: dict[str, Any]) -> list[object]:
    """A figure and its interval, or the reasons."""
    if statistic["value"] is None:
        return ["-", statistic["status"]]
    low, high = statistic["ci_low"], statistic["ci_high"]
    if low is None:
        return [f"{statistic['value']:.3f}", statistic["ci_status"]]
    return [f"{statistic['value']:.3f}", f"{low:.3f} to {high:.3f}"]
