"""The loop does what a plain loop does, the same each time, and says why where it cannot."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from annotation.errors import InputError
from models.errors import TrainingError
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.models.training.small_task import SETTINGS, SmallTask, same_weights

Batch = tuple[torch.Tensor, torch.Tensor]


class PlainTask(SmallTask):
    """Without any draw: what it learns follows from the order of its items alone."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(self.model[0], self.model[2], self.model[4])
        self.seen: list[NDArray[np.int64]] = []

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        self.seen.append(indices)
        return self.features[indices], self.labels[indices]

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])


def fresh(task: SmallTask) -> SmallTask:
    """A task of the same kind, with the weights that it began with."""
    return type(task)()


def test_it_is_the_plain_loop() -> None:
    """The same steps by torch's own schedulers, clipping and unfused optimiser give these weights."""
    settings = replace(SETTINGS, metric=None, weight_decay=0.1, ahead=0)
    task, other = PlainTask(), PlainTask()
    history = fit(task, settings)
    steps = len(task.seen)
    assert steps == 16

    optimizer = torch.optim.AdamW(
        other.model.parameters(), lr=0.02, weight_decay=0.1, foreach=False, fused=False
    )
    rising = math.ceil(0.2 * steps)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rising, 1.0, rising - 1),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rising),
        ],
        [rising],
    )
    losses = []
    for items in task.seen:
        optimizer.zero_grad()
        loss = functional.cross_entropy(other.model(other.features[items]), other.labels[items])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(other.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item() * len(items))
    for ours, theirs in zip(task.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    means = np.array(losses).reshape(4, 4).sum(axis=1) / 50
    np.testing.assert_allclose([epoch.loss for epoch in history.epochs], means, rtol=1e-4)


def test_every_item_comes_once_an_epoch_in_another_order() -> None:
    task = PlainTask()
    fit(task, replace(SETTINGS, metric=None))
    epochs = [np.concatenate(task.seen[start : start + 4]) for start in range(0, 16, 4)]
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_seed_gives_the_same_weights_however_far_ahead_batches_are_loaded(ahead: int) -> None:
    task, again = SmallTask(), SmallTask()
    history = fit(task, SETTINGS)
    torch.manual_seed(99)  # what came before does not matter
    random.seed(99)
    assert fit(again, replace(SETTINGS, ahead=ahead)) == history
    assert same_weights(task.model, again.model)


def test_another_seed_gives_other_weights() -> None:
    task, other = SmallTask(), SmallTask()
    fit(task, SETTINGS)
    fit(other, replace(SETTINGS, seed=4))
    assert not same_weights(task.model, other.model)


def test_generators_and_algorithms_are_afterwards_what_they_were() -> None:
    def drawn() -> tuple[float, float, float, bool]:
        return (
            random.random(),
            float(np.random.random()),  # noqa: NPY002
            torch.rand(()).item(),
            torch.are_deterministic_algorithms_enabled(),
        )

    def seed() -> None:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)

    seed()
    expected = drawn()
    seed()
    fit(SmallTask(), SETTINGS)
    assert drawn() == expected


class Scripted(SmallTask):
    """Validation gives these figures, one after the other."""

    figures: tuple[float, ...] = ()

    def validate(self) -> Mapping[str, float]:
        self.weights = getattr(self, "weights", [])
        self.weights.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return {"figure": self.figures[len(self.weights) - 1]}


def scripted(*figures: float) -> Scripted:
    task = Scripted()
    task.figures = figures
    return task


@pytest.mark.parametrize(
    ("figures", "direction", "patience", "epochs", "best", "ended"),
    [
        ((0.1, 0.5, 0.4, 0.3, 0.9, 0.2), "max", 2, 4, 1, "patience"),
        ((0.1, 0.5, 0.4, 0.3, 0.9, 0.2), "max", None, 6, 4, "epochs"),
        ((0.5, 0.1, 0.1, 0.2, 0.3, 0.0), "min", 3, 5, 1, "patience"),
        ((math.nan, 0.1, math.nan, 0.2, 0.1, 0.1), "max", 9, 6, 3, "epochs"),
        ((0.3, math.nan, 0.1, 0.1, 0.1, 0.1), "min", 1, 2, 0, "patience"),
    ],
)
def test_the_best_epochs_weights_stay(
    figures: tuple[float, ...],
    direction: Any,
    patience: int | None,
    epochs: int,
    best: int,
    ended: str,
) -> None:
    """The first of equal figures is the best, and what is not a number never is one."""
    task = scripted(*figures)
    history = fit(
        task,
        replace(SETTINGS, epochs=6, metric="figure", direction=direction, patience=patience),
    )
    assert (len(history.epochs), history.best, history.ended) == (epochs, best, ended)
    assert all(torch.equal(task.weights[best][k], v) for k, v in task.model.state_dict().items())


def test_without_a_metric_the_last_weights_stay() -> None:
    task = scripted(0.9, 0.1, 0.1, 0.1)
    history = fit(task, replace(SETTINGS, metric=None))
    assert history.best == 3
    assert all(torch.equal(task.weights[3][k], v) for k, v in task.model.state_dict().items())


class Cramped(PlainTask):
    """Memory for so many items at once."""

    room = 8

    def loss(self, batch: Batch) -> torch.Tensor:
        if len(batch[0]) > self.room:
            (self.model[0].weight.sum() * 1e6).backward()  # half a gradient is there already
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().loss(batch)


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The gradient is that of the whole batch: the weights are those of a run that had the room."""
    task, roomy = Cramped(), Cramped()
    roomy.room = 16
    plain, history = fit(roomy, SETTINGS), fit(task, SETTINGS)
    assert history.halved
    assert not plain.halved
    for ours, theirs in zip(task.model.parameters(), roomy.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert max(len(items) for items in task.seen[-12:]) == 8
    told = capsys.readouterr().err
    assert told.count("memory ran out: each batch is computed in two halves") == 1


def test_memory_that_half_a_batch_exceeds_too_is_refused() -> None:
    task = Cramped()
    task.room = 7
    with pytest.raises(TrainingError, match="epoch 1, batch 1, with 8 of its 16 items at once"):
        fit(task, SETTINGS)
    task.room = 0
    with pytest.raises(TrainingError, match="with 1 of its 1 items at once; set a smaller batch"):
        fit(task, replace(SETTINGS, batch=1))


def test_the_memory_of_the_processor_is_memory_too() -> None:
    class Greedy(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            if len(batch[0]) > 8:
                torch.empty(2**55)
            return super().loss(batch)

    assert fit(Greedy(), SETTINGS).halved


def test_any_other_fault_of_a_model_is_not_taken_for_memory() -> None:
    class Wrong(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            return self.model(batch[0][:, :3]).sum()

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit(Wrong(), SETTINGS)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_fault_in_loading_comes_up_at_its_batch(ahead: int) -> None:
    class Unreadable(PlainTask):
        def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
            if len(self.seen) == 5:
                raise OSError("slide 'A' can't be read")
            return super().load(indices, rng)

    done: list[int] = []
    with pytest.raises(OSError, match="slide 'A' can't be read"):
        fit(
            Unreadable(),
            replace(SETTINGS, ahead=ahead),
            progress=lambda step, steps, loss: done.append(step),
        )
    assert done == [1, 2, 3, 4, 5]


class Unstable(PlainTask):
    """From the sixth batch on the loss, or its gradient, is not a number."""

    only_gradient = False

    def loss(self, batch: Batch) -> torch.Tensor:
        self.asked = getattr(self, "asked", 0) + 1
        loss = super().loss(batch)
        if self.asked < 6:
            return loss
        if self.only_gradient:
            return loss + 0 * torch.sqrt(0 * self.model[0].weight.sum())  # infinite at 0, times 0
        return loss * math.nan


def test_a_loss_that_is_not_a_number_stops_the_training() -> None:
    with pytest.raises(TrainingError, match="the loss is nan in epoch 2, batch 2; lower the"):
        fit(Unstable(), SETTINGS)


def test_a_gradient_that_is_not_a_number_stops_it_too() -> None:
    """The last batch leaves no loss to see it by: the weights themselves are looked at."""
    task = Unstable()
    task.only_gradient = True
    with pytest.raises(TrainingError, match=r"'0\.weight' of the model is no longer finite"):
        fit(task, replace(SETTINGS, epochs=1, batch=9, clip_norm=None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "kappa"}, "no figure 'kappa' to choose the best epoch by; the figures are acc"),
        ({"precision": "float16"}, "float16 needs a GPU"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fit(SmallTask(), replace(SETTINGS, **settings))


def test_nothing_to_train_on_and_nothing_to_train_are_refused() -> None:
    task = SmallTask()
    task.labels = task.labels[:0]
    with pytest.raises(TrainingError, match="the training part has no item"):
        fit(task, SETTINGS)
    frozen = SmallTask()
    frozen.model.requires_grad_(False)
    with pytest.raises(TrainingError, match="no weights that could be trained"):
        fit(frozen, SETTINGS)


def test_an_operation_that_cannot_be_repeated_is_refused_by_name() -> None:
    class Unrepeatable(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            order = torch.zeros(8, dtype=torch.int64)
            shifted = torch.zeros(8).put_(order, batch[0][0], accumulate=False)
            return super().loss(batch) + 0 * shifted.sum()

    with pytest.raises(TrainingError, match=r"put_ does not .*; set deterministic = false"):
        fit(Unrepeatable(), SETTINGS)
    fit(Unrepeatable(), replace(SETTINGS, deterministic=False))


def test_bfloat16_computes_in_it_and_keeps_weights_in_float32() -> None:
    kinds = set()

    class Watched(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            kinds.add(self.model(batch[0]).dtype)
            return super().loss(batch)

    task = Watched()
    history = fit(task, replace(SETTINGS, precision="bfloat16"))
    assert kinds == {torch.bfloat16}
    assert {weights.dtype for weights in task.model.parameters()} == {torch.float32}
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_frozen_weights_stay() -> None:
    task = SmallTask()
    task.model[0].requires_grad_(False)
    before = task.model[0].weight.clone()
    fit(task, replace(SETTINGS, weight_decay=0.5))
    assert torch.equal(task.model[0].weight, before)


def test_sgd_learns() -> None:
    history = fit(PlainTask(), replace(SETTINGS, optimizer="sgd", epochs=10))
    assert history.epochs[-1].loss < 0.7 * history.epochs[0].loss


def test_settings_survive_a_file() -> None:
    settings = replace(SETTINGS, patience=4, clip_norm=None)
    assert TrainingSettings.from_dict(settings.to_dict()) == settings
    assert TrainingSettings.from_dict({"learning_rate": 1}).learning_rate == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "there is no training setting 'epoch'; take one of epochs, "),
        ({"epochs": 0}, "training setting epochs is 0; it must be at least 1"),
        ({"epochs": "3"}, r"Expected `int`, got `str` - at `\$.epochs`"),
        ({"epochs": True}, r"Expected `int`, got `bool` - at `\$.epochs`"),
        ({"learning_rate": math.nan}, "learning_rate is nan; it must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf; it must be above 0"),
        ({"warmup": 1.0}, "warmup is 1.0; it must be at least 0 and below 1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be above 0, or absent"),
        ({"patience": 2}, "patience is 2; it must be absent without a metric"),
        ({"schedule": "linear"}, r"Invalid enum value 'linear' - at `\$.schedule`"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings.from_dict(given)
