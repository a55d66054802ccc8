"""`train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, table

if TYPE_CHECKING:
    from rich.console import Console

    from models.training.loop import Progress

MODELS = ("abmil", "clam-sb", "mean", "max", "tile-mlp", "unet", "smp")
METHODS = (
    "majority",
    "soft",
    "em-net",
    "annotator-layer",
    "gce",
    "label-smoothing",
    "ousm",
)

STOPPED = 75
"""The exit status after SIGTERM or SIGUSR1: EX_TEMPFAIL, "try again later"."""


@click.command(short_help="Train a model on a release.")
@click.option("--release", required=True, metavar="NAME", help="The training set.")
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
@click.option("--model", required=True, type=click.Choice(MODELS), help="The network.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="soft",
    show_default=True,
    help="How it learns from several raters.",
)
@click.option("--name", required=True, metavar="NAME", help="What the model is called from now on.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the model, its curves and checkpoints.",
)
@click.option("--resume", is_flag=True, help="Go on where a training in that folder was stopped.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file with the tables [training], [model] and [tiles]; options go before it.",
)
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch", type=int, help="Items a step.")
@click.option("--learning-rate", type=float, help="The highest of the schedule.")
@click.option("--seed", type=int, help="Of weights, order and draws; default 0.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]))
@click.option("--metric", help="A figure whose best epoch is kept; default: the last epoch is.")
@click.option("--patience", type=int, help="Epochs without a better figure that end it.")
@click.option("--checkpoint-minutes", type=float, help="Time between checkpoints; default 10.")
@click.option("--leave-out-site", "site", metavar="SITE", help="Hold this site out entirely.")
@click.option("--no-baseline", is_flag=True, help="Train nothing on the majority's labels beside.")
@click.option(
    "--slide-label",
    type=click.Choice(["worst", "largest"]),
    help="How a slide gets its label from a release of regions: by the worst class that it holds, or "
    "the largest.",
)
@click.option(
    "--least-um2",
    type=float,
    help="With --slide-label worst: what a class and those above it must cover; default 0.",
)
@click.option(
    "--out-of-fold",
    "n_folds",
    type=int,
    metavar="K",
    help="Train K more models, each without a part of the patients, and keep what they say of these: "
    "`evaluate` then doubts labels of the training as well. em-net and ousm do so anyway.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out slides whose features are missing.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@command
def train(
    invocation: Invocation,
    release: str,
    features: Path | None,
    slides_root: Path | None,
    model: str,
    method: str,
    name: str,
    folder: Path,
    resume: bool,
    config: Path | None,
    site: str | None,
    no_baseline: bool,
    slide_label: Any,
    least_um2: float | None,
    n_folds: int | None,
    allow_missing: bool,
    device: str,
    **training: Any,
) -> Outcome:
    """Train a model on the part `train` of a release.

    Beside it a second one is trained on the majority's labels, under the same settings: what the
    method gains is held against it. SIGTERM and SIGUSR1 end a training after its batch, with a
    checkpoint and exit status 75; with --resume it goes on and ends as if nothing had been.
    """
    from models.commands.left_out import require_none_left_out
    from models.errors import TrainingStoppedError
    from models.labels.slide_labels import SlideLabelRule
    from models.training.config_file import TrainingFile, read_training_file
    from models.training.devices import device_named
    from models.training.request import TrainingRequest
    from models.training.training_run import train as run_training

    if slide_label is None and least_um2 is not None:
        raise click.UsageError("--least-um2 is of --slide-label worst.")
    rule = None
    if slide_label is not None:
        rule = SlideLabelRule(rule=slide_label, least_um2=least_um2 or 0.0)
    written = TrainingFile() if config is None else read_training_file(config)
    given = {key: value for key, value in training.items() if value is not None}
    request = TrainingRequest(
        name=name,
        release=release,
        architecture=model,
        method=method,
        folder=folder,
        resume=resume,
        features=features,
        slides_root=slides_root,
        training={**written.training, **given},
        arguments=written.model,
        tiles=written.tiles,
        site=site,
        baseline=not no_baseline,
        slide_label=rule,
        n_folds=n_folds,
        allow_missing=allow_missing,
        device=device_named(device),
    )
    try:
        with _watching(quiet=invocation.as_json or invocation.log_json) as watch:
            document = run_training(invocation.store, request, say=invocation.say, watch=watch)
    except TrainingStoppedError as stopped:
        message = str(stopped)
        return Outcome(
            {"state": "stopped", "model": name, "folder": str(folder), "reason": message},
            lambda console: console.print(message, markup=False, soft_wrap=True),
            status=STOPPED,
        )
    require_none_left_out(document["skipped"], f"the model is in {document['folder']}")
    return Outcome({"state": "done", **document}, lambda console: _show(console, document))


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Callable[[str, str], Progress]]:
    """A bar a stage, on standard error where somebody looks."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(
        console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True
    ) as bars:

        def watch(method: str, stage: str) -> Progress:
            bar = bars.add_task(f"{method}, {stage}", total=None)

            def tell(step: int, steps: int, loss: float) -> None:
                bars.update(bar, completed=step, total=steps)

            return tell

        yield watch


def _show(console: Console, document: dict[str, Any]) -> None:
    trained = [document, *([document["baseline"]] if document["baseline"] else [])]
    figures = sorted({figure for one in trained for figure in one["metrics"]})
    console.print(
        table(
            f"Trained on release {document['release']}; figures of its part val",
            "model", "method", "items", "epochs", "loss", *figures,
            rows=[
                [one["model"], one["method"], one["items"], one["epochs"], one["loss"],
                 *(one["metrics"].get(figure) for figure in figures)]
                for one in trained
            ],
        )
    )  # fmt: skip
    slides = ", ".join(f"{part} {count}" for part, count in document["slides"].items())
    console.print(f"Slides: {slides}.", markup=False)
    if document["left_out_site"] is not None:
        console.print(f"Held out: site {document['left_out_site']}.", markup=False)
    console.print(f"Model in {document['folder']}.", markup=False, soft_wrap=True)
