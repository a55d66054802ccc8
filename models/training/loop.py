"""The training loop: every model here is trained by :func:`fit`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from models.errors import TrainingError
from models.training.history import Epoch, History
from models.training.loading import Part, batches_of, loaded
from models.training.repeatable import repeatable
from models.training.schedule import learning_rate_factor
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.task import Task

if TYPE_CHECKING:
    from models.training.checkpoints import Checkpoints

__all__ = ["Progress", "fit"]

B = TypeVar("B")
Progress = Callable[[int, int, float], None]
"""Told after each batch: how many batches are done, how many there are, the batch's loss."""


def fit(
    task: Task[B],
    settings: TrainingSettings,
    *,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a task's model, in place.

    Parameters
    ----------
    task
        The model, its data and its loss.
    settings
        What to do. With a metric the model ends with the weights of its best epoch.
    checkpoints
        Where to go on from and what to write on the way; None trains in memory.
    progress
        Told after each batch.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        No items or parameters, a loss that is not a number, memory that half a batch exceeds too, a
        metric that ``validate`` does not give, an algorithm without a deterministic form.
    """
    _check(task, settings)
    batches = batches_of(task, settings.batch)
    with repeatable(seed=settings.seed, deterministic=settings.deterministic):
        state = TrainingState.begin(task.model, settings)
        while not state.history.ended:
            task.model.train()
            for parts in loaded(
                task,
                seed=settings.seed,
                epoch=state.epoch,
                start=state.batch,
                batch=settings.batch,
                parts=state.parts,
                ahead=settings.ahead,
            ):
                step = state.epoch * batches + state.batch
                loss = _gradients(task, parts, state, settings)
                _update(state, settings, step, batches * settings.epochs)
                state.loss_sum += loss * sum(part.items for part in parts)
                state.batch += 1
                if progress is not None:
                    progress(step + 1, batches * settings.epochs, loss)
            state.end_epoch(
                Epoch(
                    epoch=state.epoch,
                    loss=state.loss_sum / len(task),
                    learning_rate=state.optimizer.param_groups[0]["lr"],
                    metrics=_validated(task, settings),
                ),
                settings,
            )
        state.settle()
    task.model.eval()
    return state.history


def _check(task: Task[B], settings: TrainingSettings) -> None:
    if not len(task):
        raise TrainingError("there is nothing to train on; the training part has no item")
    if not any(weights.requires_grad for weights in task.model.parameters()):
        raise TrainingError("the model has no weights that could be trained")
    on_gpu = next(task.model.parameters()).device.type == "cuda"
    if settings.precision == "float16" and not on_gpu:
        raise TrainingError("float16 needs a GPU; train in bfloat16 or float32")


def _gradients(
    task: Task[B], parts: list[Part[B]], state: TrainingState, settings: TrainingSettings
) -> float:
    """Add up the gradient of a batch, and return its loss."""
    items = sum(part.items for part in parts)
    kind = torch.bfloat16 if settings.precision == "bfloat16" else torch.float16
    state.optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in parts:
        with torch.autocast(state.device.type, kind, enabled=settings.precision != "float32"):
            loss = task.loss(part.batch) * (part.items / items)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    if not math.isfinite(total):
        raise TrainingError(
            f"the loss is {total} in epoch {state.epoch + 1}, batch {state.batch + 1}; lower the "
            "learning rate, clip the gradient, or train in float32",
            epoch=state.epoch,
            batch=state.batch,
        )
    return total


def _update(state: TrainingState, settings: TrainingSettings, step: int, steps: int) -> None:
    """Take one step of the optimiser."""
    factor = learning_rate_factor(
        step, steps=steps, warmup=settings.warmup, schedule=settings.schedule
    )
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    if settings.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()


def _validated(task: Task[B], settings: TrainingSettings) -> dict[str, float]:
    task.model.eval()
    with torch.no_grad():
        metrics = dict(task.validate())
    if settings.metric is not None and settings.metric not in metrics:
        raise TrainingError(
            f"there is no figure {settings.metric!r} to choose the best epoch by; the figures are "
            f"{', '.join(sorted(metrics)) or 'none'}",
            metric=settings.metric,
        )
    return metrics
