"""`predict`: what models say of slides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from rich.console import Console

METHODS = ("mc-dropout", "ensemble", "none")

STOPPED = 75
"""The exit status after SIGTERM, SIGUSR1 or Ctrl+C: EX_TEMPFAIL, "try again later"."""


@click.command(short_help="Predict slides with a model.")
@click.option("--model", required=True, metavar="MODEL", help="Its folder, or its name on record.")
@click.option(
    "--ensemble", multiple=True, metavar="MODEL", help="Another model to ask; may be repeated."
)
@click.option(
    "--slides",
    multiple=True,
    metavar="SLIDE",
    help="A slide's name, its file, or a folder of files; may be repeated.",
)
@click.option("--release", metavar="NAME", help="The slides of a release.")
@click.option("--part", metavar="PART", help="Only those of a part of its split.")
@click.option("--all", "everything", is_flag=True, help="Every slide of the store.")
@click.option(
    "--slides-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the slides lie now, if they were moved.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of the run, which is called by its name.",
)
@click.option(
    "--encoder",
    metavar="ENCODER",
    help="The encoder that the model's features came from, as `encode` takes it.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="DIR", help="A folder with its weights."
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Of the encoder; default: its own on a GPU, float32 elsewhere.",
)
@click.option(
    "--uncertainty", "method", type=click.Choice(METHODS), help="Default: mc-dropout; ensemble."
)
@click.option("--passes", type=int, help="With dropout; default 50.")
@click.option("--seed", type=int, help="Of what is dropped; default 0.")
@click.option("--min-region-um2", type=float, help="Smaller areas are no regions; default 2500.")
@click.option("--batch", type=int, help="Tiles that go through a network at a time; default 16.")
@click.option("--threads", type=int, help="How many read tiles, in each worker; default 2.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes; default: one on a GPU, else one a core.",
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(0.1, 100_000),
    metavar="GB",
    help="At which a worker is replaced; default: 0.8 of the machine's, shared.",
)
@click.option(
    "--stalled-after",
    type=click.FloatRange(1, 86_400),
    default=900,
    show_default=True,
    metavar="S",
    help="A worker without any progress for so long is replaced.",
)
@click.option(
    "--cluster",
    metavar="CLUSTER",
    help="Predict by Dask: a TOML file, local:N, or tls://HOST:PORT.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option(
    "--explain",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also a page a slide that says what its prediction rests on.",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="With --explain: those of the training, for labelled tiles that look alike.",
)
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write metrics for the textfile collector of node_exporter.",
)
@click.option(
    "--prometheus-port",
    type=click.IntRange(1, 65_535),
    metavar="PORT",
    help="Serve metrics to this machine.",
)
@command
def predict(
    invocation: Invocation,
    model: str,
    ensemble: tuple[str, ...],
    slides: tuple[str, ...],
    release: str | None,
    part: str | None,
    everything: bool,
    slides_root: Path | None,
    to: Path,
    encoder: str | None,
    weights: Path | None,
    precision: Any,
    workers: int | None,
    memory_limit: float | None,
    stalled_after: float,
    cluster: str | None,
    device: str,
    explain: Path | None,
    features: Path | None,
    prometheus: Path | None,
    prometheus_port: int | None,
    **how: Any,
) -> Outcome:
    """Predict slides, and say how sure the model is.

    Run again with the same command, it goes on where it was: killed at any moment, it does at most
    the slides in hand again. A slide that fails is tried three times, then marked with its reason,
    and the others go on; the exit status is 1 then. SIGTERM and Ctrl+C give back what is in hand and
    end with status 75. The folder holds the files of the slides and a page, run.html, that tells how
    it goes.
    """
    from models.errors import PredictionStoppedError
    from models.extras import needs
    from models.prediction.carrying_out import PredictionRequest, carry_out
    from models.prediction.cluster_plan import read_plan
    from models.prediction.settings import PredictionSettings
    from models.prediction.work_order import EncoderChoice, Explain

    for module in ("torch", "h5py", "safetensors", "psutil", "prometheus_client"):
        needs(module, "models")
    if [bool(slides), release is not None, everything].count(True) != 1:
        raise click.UsageError("Name one of --slides, --release and --all.")
    if part is not None and release is None:
        raise click.UsageError("--part is of a --release.")
    if features is not None and explain is None:
        raise click.UsageError("--features are for --explain.")
    chosen: dict[str, Any] = {name: value for name, value in how.items() if value is not None}
    chosen.setdefault("method", "ensemble" if ensemble else "mc-dropout")
    request = PredictionRequest(
        models=(model, *ensemble),
        settings=PredictionSettings(**chosen),
        folder=to,
        slides=slides,
        release=release,
        part=part,
        slides_root=slides_root,
        encoder=None
        if encoder is None and weights is None
        else EncoderChoice(encoder, weights, precision),
        workers=workers,
        memory_bytes=None if memory_limit is None else int(memory_limit * 1e9),
        stalled_s=stalled_after,
        cluster=None if cluster is None else read_plan(cluster),
        device=device,
        explain=None
        if explain is None
        else Explain(explain.resolve(), release, None if features is None else features.resolve()),
        metrics_file=prometheus,
        metrics_port=prometheus_port,
        log_json=invocation.log_json,
    )
    try:
        document = carry_out(invocation.store, request, invocation.say)
    except PredictionStoppedError as stopped:
        message = str(stopped)
        return Outcome(
            {"state": "stopped", "to": str(to), "reason": message},
            lambda console: console.print(message, markup=False, soft_wrap=True),
            status=STOPPED,
        )
    return Outcome({"state": "done", **document}, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    slides = document["slides"]
    console.print(
        f"{counted(slides['done'], 'slide')} predicted, {document['predicted_now']:,} of them now; "
        f"{counted(document['workers_replaced'], 'worker')} replaced.",
        markup=False,
    )
    console.print(
        f"Run {document['run']} ({document['name']}) in {document['to']}.",
        markup=False,
        soft_wrap=True,
    )
