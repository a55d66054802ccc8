"""`tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, table
from models.commands.training_options import loop_options, stopped_outcome, watching

if TYPE_CHECKING:
    from rich.console import Console

_TABLES = ("training", "tiles", "stain_augmentation")


@click.command(short_help="Fine-tune an encoder on a release.")
@click.option("--release", required=True, metavar="NAME", help="The training set, of regions.")
@click.option(
    "--encoder",
    metavar="ENCODER",
    help="Which to begin with, as for `encode`: a name, a TOML file, or a folder.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder or file with its weights; absent, they come from the encoder's page with your "
    "own access.",
)
@click.option(
    "--how",
    type=click.Choice(["blocks", "lora"]),
    default="blocks",
    show_default=True,
    help="Train its last blocks, or adapters of low rank on its attention.",
)
@click.option("--blocks", type=int, metavar="N", help="How many of the last blocks; default 1.")
@click.option("--rank", type=int, metavar="R", help="Of the adapters; default 8.")
@click.option(
    "--alpha", type=float, metavar="A", help="By A/R what adapters add is scaled; default 16."
)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the tuned encoder, its curves and checkpoints; `encode --encoder` reads it.",
)
@click.option("--resume", is_flag=True, help="Go on where a training in that folder was stopped.")
@click.option(
    "--slides-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the slides lie now, if they were moved.",
)
@click.option("--mpp", type=float, help="Microns per pixel of tiles; default: the encoder's.")
@click.option("--size", type=int, metavar="PX", help="Side of tiles; default: the encoder's.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file with the tables [training], [tiles] and [stain_augmentation]; options go "
    "before it.",
)
@loop_options
@click.option("--allow-missing", is_flag=True, help="Leave out slides without image or tissue.")
@command
def tune(
    invocation: Invocation,
    release: str,
    encoder: str | None,
    weights: Path | None,
    how: Any,
    blocks: int | None,
    rank: int | None,
    alpha: float | None,
    folder: Path,
    resume: bool,
    slides_root: Path | None,
    mpp: float | None,
    size: int | None,
    config: Path | None,
    site: str | None,
    allow_missing: bool,
    device: str,
    **training: Any,
) -> Outcome:
    """Fine-tune an encoder on the tiles of a release, end to end.

    Tiles lie where `encode` lays them; what is learnt is the posterior of the part `train`, and
    figures are of the part `val`. The result is a folder: `encode --encoder DIR` makes features with
    it, from which `train` learns. SIGTERM and SIGUSR1 end it after a batch, with a checkpoint and
    exit status 75; with --resume it goes on and ends as if nothing had been.
    """
    from models.commands.left_out import require_none_left_out
    from models.encoders.fine_tuning import FineTuning
    from models.errors import TrainingStoppedError
    from models.extras import needs
    from models.training.config_file import TrainingFile, read_training_file
    from models.training.devices import device_named
    from models.training.tuning_request import TuningRequest
    from models.training.tuning_run import tune as run_tuning

    for module in ("torch", "safetensors"):
        needs(module, "models")
    _refuse_of_the_other(how, blocks=blocks, rank=rank, alpha=alpha)
    written = TrainingFile() if config is None else read_training_file(config, tables=_TABLES)
    request = TuningRequest(
        release=release,
        encoder=encoder,
        weights=weights,
        tuning=FineTuning(how=how, **_given(blocks=blocks, rank=rank, alpha=alpha)),
        folder=folder,
        resume=resume,
        slides_root=slides_root,
        tiles={**written.tiles, **_given(mpp=mpp, size_px=size)},
        training={**written.training, **_given(**training)},
        stain_augmentation=written.stain_augmentation,
        site=site,
        allow_missing=allow_missing,
        device=device_named(device),
    )
    try:
        with watching(quiet=invocation.as_json or invocation.log_json) as watch:
            document = run_tuning(invocation.store, request, say=invocation.say, watch=watch)
    except TrainingStoppedError as stopped:
        return stopped_outcome(stopped, folder)
    require_none_left_out(document["skipped"], f"the encoder is in {document['folder']}")
    return Outcome({"state": "done", **document}, lambda console: _show(console, document))


def _refuse_of_the_other(
    how: str, *, blocks: int | None, rank: int | None, alpha: float | None
) -> None:
    """An option that the chosen way has no use for is a mistake, not a wish."""
    if how == "lora" and blocks is not None:
        raise click.UsageError("--blocks goes with --how blocks.")
    if how == "blocks" and (rank is not None or alpha is not None):
        raise click.UsageError("--rank and --alpha go with --how lora.")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _show(console: Console, document: dict[str, Any]) -> None:
    metrics = document["metrics"]
    console.print(
        table(
            f"Tuned on release {document['release']}; figures of its part val",
            "encoder", "how", "tiles", "epochs", "loss", *(f"val {name}" for name in metrics),
            rows=[
                [document["encoder"], document["tuning"]["how"], document["items"],
                 document["epochs"], document["loss"], *metrics.values()]
            ],
        )
    )  # fmt: skip
    slides = ", ".join(f"{part} {count}" for part, count in document["slides"].items())
    console.print(f"Slides: {slides}.", markup=False)
    if document["left_out_site"] is not None:
        console.print(f"Held out: site {document['left_out_site']}.", markup=False)
    for note in document["notes"]:
        console.print(f"Note: {note}.", markup=False)
    console.print(f"Encoder in {document['folder']}.", markup=False, soft_wrap=True)
