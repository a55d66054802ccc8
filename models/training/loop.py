"""The training loop: every model here is trained by :func:`fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import torch

from annotation.logs import log
from models.errors import TrainingError, TrainingStoppedError
from models.training.history import Epoch, History
from models.training.loading import Part, batches_of, loaded
from models.training.repeatable import repeatable
from models.training.schedule import learning_rate_factor
from models.training.settings import TrainingSettings
from models.training.state import TrainingState
from models.training.stopping import listening
from models.training.task import Task

if TYPE_CHECKING:
    from models.training.checkpoints import Checkpoints

__all__ = ["Progress", "fit"]

B = TypeVar("B")
Progress = Callable[[int, int, float], None]
"""Told after each batch: how many batches are done, how many there are, the batch's loss."""

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        Where to go on from, and what to write on the way; None trains in memory. With them SIGTERM
        and SIGUSR1 end the training after its batch, with a checkpoint.
    progress
        Told after each batch.

    Returns
    -------
    History
        Of all epochs, those before a kill among them. The model is in evaluation mode.

    Raises
    ------
    TrainingError
        No items or weights; a loss or weight that is not a number; memory that half a batch exceeds
        too; a metric that ``validate`` does not give; an algorithm without a deterministic form.
    TrainingStoppedError
        A signal came.
    ModelFileError
        The checkpoints are not ours, or of a training with another configuration.
    """
    _check(task, settings)
    batches = batches_of(task, settings.batch)
    steps = batches * settings.epochs
    with (
        repeatable(seed=settings.seed, deterministic=settings.deterministic),
        listening(wanted=checkpoints is not None) as stop,
    ):
        state = TrainingState.begin(task.model, settings)
        if checkpoints is not None:
            checkpoints.restore(state)
        while not state.history.ended:
            task.model.train()
            while state.batch < batches:
                with closing(_upcoming(task, settings, state)) as coming:
                    for parts in coming:
                        try:
                            loss = _gradients(task, parts, state, settings)
                        except torch.OutOfMemoryError as error:
                            _halve(state, parts, error)
                            break  # and load the same batch again, in halves
                        if not math.isfinite(loss):
                            raise _not_a_number(loss, state, checkpoints)
                        _update(state, settings, steps)
                        state.loss_sum += loss * sum(part.items for part in parts)
                        state.batch, state.step = state.batch + 1, state.step + 1
                        if progress is not None:
                            progress(state.step, steps, loss)
                        if checkpoints is not None and (stop or checkpoints.due):
                            checkpoints.save(state)
                        if stop:
                            raise _stopped(stop.signal, state, checkpoints)
            state.require_finite()
            state.end_epoch(
                Epoch(
                    epoch=state.epoch,
                    loss=state.loss_sum / len(task),
                    learning_rate=state.optimizer.param_groups[0]["lr"],
                    metrics=_validated(task, settings),
                ),
                settings,
            )
            if checkpoints is not None and (state.history.ended or checkpoints.due):
                checkpoints.save(state)
        state.settle()
    task.model.eval()
    return state.history


def _check(task: Task[B], settings: TrainingSettings) -> None:
    if not len(task):
        raise TrainingError("there is nothing to train on: the training part has no item")
    if not any(weights.requires_grad for weights in task.model.parameters()):
        raise TrainingError("the model has no weights that could be trained; take another --model")
    on_gpu = next(task.model.parameters()).device.type == "cuda"
    if settings.precision == "float16" and not on_gpu:
        raise TrainingError("float16 needs a GPU; train in bfloat16 or float32")


def _upcoming(
    task: Task[B], settings: TrainingSettings, state: TrainingState
) -> Generator[list[Part[B]]]:
    """The batches of the epoch that are still to come."""
    return loaded(task, settings, epoch=state.epoch, start=state.batch, parts=state.parts)


def _gradients(
    task: Task[B], parts: list[Part[B]], state: TrainingState, settings: TrainingSettings
) -> float:
    """Add up the gradient of a batch over its parts, and return its mean loss.

    Raises
    ------
    torch.OutOfMemoryError
        On whichever device.
    TrainingError
        An operation has no deterministic form.
    """
    items = sum(part.items for part in parts)
    kind = AUTOCAST[settings.precision]
    state.optimizer.zero_grad(set_to_none=True)
    total = 0.0
    try:
        for part in parts:
            with torch.autocast(state.device.type, kind, enabled=kind is not None):
                loss = task.loss(part.batch) * (part.items / items)
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):  # what torch says where the CPU's memory ends
            raise torch.OutOfMemoryError(str(error)) from error
        if "deterministic" in str(error):
            raise TrainingError(
                f"the model cannot be trained repeatably: {str(error).splitlines()[0]}; set "
                "deterministic = false to train it all the same"
            ) from error
        raise
    return total


def _update(state: TrainingState, settings: TrainingSettings, steps: int) -> None:
    """Take one step of the optimiser."""
    factor = learning_rate_factor(
        state.step, steps=steps, warmup=settings.warmup, schedule=settings.schedule
    )
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    if settings.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm)
    try:
        state.scaler.step(state.optimizer)
    except torch.OutOfMemoryError as error:  # a smaller batch would not help
        raise TrainingError(
            "memory is too small for the model with what its optimiser keeps; set optimizer = "
            '"sgd", or take a smaller model'
        ) from error
    state.scaler.update()


def _halve(state: TrainingState, parts: list[Part[B]], error: torch.OutOfMemoryError) -> None:
    """Compute every batch in two halves from here on; a second time is refused."""
    items = sum(part.items for part in parts)
    if state.parts > 1 or items == 1:
        raise TrainingError(
            f"memory ran out in epoch {state.epoch + 1}, batch {state.batch + 1}, with "
            f"{max(part.items for part in parts)} of its {items} items at once; set a smaller batch",
            epoch=state.epoch,
            batch=state.batch,
        ) from error
    state.parts, state.history.halved = 2, True
    log.warning(
        "memory ran out: each batch is computed in two halves from here on; the gradient stays the "
        "same, except through batch normalisation and random draws",
        epoch=state.epoch + 1,
        batch=state.batch + 1,
    )


def _not_a_number(
    loss: float, state: TrainingState, checkpoints: Checkpoints | None
) -> TrainingError:
    kept = ""
    if checkpoints is not None and checkpoints.present:
        kept = f"; the last good checkpoint stays in {checkpoints.folder}"
    return TrainingError(
        f"the loss is {loss} in epoch {state.epoch + 1}, batch {state.batch + 1}{kept}; lower the "
        "learning rate, clip the gradient, or train in float32",
        epoch=state.epoch,
        batch=state.batch,
    )


def _stopped(
    signal: str, state: TrainingState, checkpoints: Checkpoints | None
) -> TrainingStoppedError:
    folder = None if checkpoints is None else checkpoints.folder
    return TrainingStoppedError(
        f"{signal} came in epoch {state.epoch + 1}, after batch {state.batch}; the training stands "
        f"in {folder} and goes on there with --resume",
        signal=signal,
        folder=folder,
        epoch=state.epoch,
        batch=state.batch,
    )


def _validated(task: Task[B], settings: TrainingSettings) -> dict[str, float]:
    task.model.eval()
    with torch.no_grad():
        metrics = {name: float(figure) for name, figure in task.validate().items()}
    if settings.metric is not None and settings.metric not in metrics:
        raise TrainingError(
            f"there is no figure {settings.metric!r} to choose the best epoch by; the figures are "
            f"{', '.join(sorted(metrics)) or 'none'}",
            metric=settings.metric,
        )
    return metrics
