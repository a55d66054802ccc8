"""What `train` and `tune` have in common: options of the loop, bars on the terminal, being stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annotation.terminal import Outcome

if TYPE_CHECKING:
    from models.errors import TrainingStoppedError
    from models.training.loop import Progress

__all__ = ["STOPPED", "loop_options", "stopped_outcome", "watching"]

F = TypeVar("F", bound=Callable[..., Any])

STOPPED = 75
"""The exit status after SIGTERM or SIGUSR1: EX_TEMPFAIL, "try again later"."""

_LOOP = (
    click.option("--epochs", type=int, help="Passes over the data."),
    click.option("--batch", type=int, help="Items a step."),
    click.option("--learning-rate", type=float, help="The highest of the schedule."),
    click.option("--seed", type=int, help="Of weights, order and draws; default 0."),
    click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"])),
    click.option("--metric", help="A figure whose best epoch is kept; default: the last epoch is."),
    click.option("--patience", type=int, help="Epochs without a better figure that end it."),
    click.option("--checkpoint-minutes", type=float, help="Time between checkpoints; default 10."),
    click.option("--leave-out-site", "site", metavar="SITE", help="Hold this site out entirely."),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto."),
)


def loop_options(command: F) -> F:
    """The options that every training has; those of the loop come under the names of its settings."""
    for option in reversed(_LOOP):
        command = option(command)
    return command


@contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[str, str], Progress]]:
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


def stopped_outcome(stopped: TrainingStoppedError, folder: Path, **told: Any) -> Outcome:
    """A training that a signal ended: where it stands, and the status that says "try again later"."""
    message = str(stopped)
    return Outcome(
        {"state": "stopped", **told, "folder": str(folder), "reason": message},
        lambda console: console.print(message, markup=False, soft_wrap=True),
        status=STOPPED,
    )
