"""A training goes on from its checkpoint as if nothing had been, or says why it does not."""

from __future__ import annotations

import errno
import io
import math
import os
import pickle
import signal
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import ModelFileError, TrainingError, TrainingStoppedError
from models.training.checkpoints import Checkpoints
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.models.training.small_task import SETTINGS, SmallTask, same_weights
from tests.models.training.test_loop import Batch, Cramped, PlainTask

EVERY_BATCH = replace(SETTINGS, checkpoint_minutes=0.0)
FROZEN = {"release": {"name": "v1", "manifest_sha256": "a" * 64}, "split": {"train": ["S1", "S2"]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def checkpoints(folder: Path, settings: TrainingSettings = EVERY_BATCH) -> Checkpoints:
    return Checkpoints(folder, settings, FROZEN)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sends(number: int, after: int) -> Callable[[int, int, float], None]:
    """Sends a signal to this process after so many batches."""

    def tell(step: int, steps: int, loss: float) -> None:
        if step == after:
            os.kill(os.getpid(), number)

    return tell


@pytest.mark.parametrize("after", [1, 4, 7, 15, 16])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_a_training_after_its_batch_and_it_goes_on_there(
    folder: Path, name: str, after: int
) -> None:
    """At the first batch, at the end of an epoch, within one, and at the last."""
    number = getattr(signal, name)
    settings = replace(SETTINGS, checkpoint_minutes=60.0)
    handler = signal.getsignal(number)
    with pytest.raises(TrainingStoppedError, match=f"{name} came in epoch ") as stopped:
        fit(
            SmallTask(),
            settings,
            checkpoints=checkpoints(folder, settings),
            progress=sends(number, after),
        )
    assert (stopped.value.signal, stopped.value.folder) == (name, folder)
    assert signal.getsignal(number) == handler
    assert names(folder) == [f"checkpoint-{after:010d}.pt"]

    steps: list[int] = []
    task, alone = SmallTask(), SmallTask()
    history = fit(
        task,
        settings,
        checkpoints=checkpoints(folder, settings),
        progress=lambda step, of, loss: steps.append(step),
    )
    assert steps == list(range(after + 1, 17))
    assert history == fit(alone, SETTINGS)
    assert same_weights(task.model, alone.model)


def test_without_checkpoints_a_signal_does_what_it_did() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        history = fit(SmallTask(), SETTINGS, progress=sends(signal.SIGUSR1, 3))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
    assert history.ended == "epochs"


def test_outside_the_main_thread_a_training_leaves_signals_alone(folder: Path) -> None:
    """Only the main thread may have handlers; a training elsewhere still writes checkpoints."""
    handler = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def train() -> None:
        fit(
            SmallTask(),
            EVERY_BATCH,
            checkpoints=checkpoints(folder),
            progress=lambda *_: seen.append(signal.getsignal(signal.SIGTERM)),
        )

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [handler] * 16
    assert names(folder) == ["checkpoint-0000000015.pt", "checkpoint-0000000016.pt"]


def test_a_training_that_has_ended_is_not_done_again(folder: Path) -> None:
    task, again = SmallTask(), SmallTask()
    history = fit(task, EVERY_BATCH, checkpoints=checkpoints(folder))
    steps: list[int] = []
    assert history == fit(
        again,
        EVERY_BATCH,
        checkpoints=checkpoints(folder),
        progress=lambda step, of, loss: steps.append(step),
    )
    assert steps == []
    assert same_weights(task.model, again.model)
    assert not again.model.training


def test_checkpoints_come_in_time_and_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ten minutes, on a clock that goes on by three with each batch."""
    now_s = [0.0]
    monkeypatch.setattr("models.training.checkpoints.time.monotonic", lambda: now_s[0])
    settings = replace(SETTINGS, checkpoint_minutes=10.0)
    written: list[tuple[int, list[str]]] = []

    def tell(step: int, steps: int, loss: float) -> None:
        written.append((step, names(folder) if folder.is_dir() else []))
        now_s[0] += 180

    fit(SmallTask(), settings, checkpoints=checkpoints(folder, settings), progress=tell)
    newest = {step: found[-1] for step, found in written if found}
    assert list(dict.fromkeys(newest.values())) == [
        f"checkpoint-{step:010d}.pt" for step in (4, 8, 12)
    ]
    assert names(folder) == ["checkpoint-0000000012.pt", "checkpoint-0000000016.pt"]


def test_halved_batches_stay_halved(folder: Path) -> None:
    with pytest.raises(TrainingStoppedError):
        fit(
            Cramped(),
            EVERY_BATCH,
            checkpoints=checkpoints(folder),
            progress=sends(signal.SIGTERM, 6),
        )
    task, alone = Cramped(), Cramped()
    history = fit(task, EVERY_BATCH, checkpoints=checkpoints(folder))
    assert history.halved
    assert max(map(len, task.seen)) == 8  # it does not have to run out again
    assert history == fit(alone, SETTINGS)
    assert same_weights(task.model, alone.model)


def test_a_loss_that_is_not_a_number_leaves_the_last_good_checkpoint(folder: Path) -> None:
    class Unstable(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            self.asked = getattr(self, "asked", 0) + 1
            return super().loss(batch) * (math.nan if self.asked == 8 else 1.0)

    with pytest.raises(TrainingError, match=f"stays in {folder}; lower the learning rate"):
        fit(Unstable(), EVERY_BATCH, checkpoints=checkpoints(folder))
    assert names(folder) == ["checkpoint-0000000006.pt", "checkpoint-0000000007.pt"]


def test_weights_that_are_not_numbers_are_never_written(folder: Path) -> None:
    """The gradient is infinite in batch 8 while its loss is not: its checkpoint is not written."""

    class Unstable(PlainTask):
        def loss(self, batch: Batch) -> torch.Tensor:
            self.asked = getattr(self, "asked", 0) + 1
            root = torch.sqrt(0 * self.model[0].weight.sum())
            return super().loss(batch) + (root if self.asked == 8 else 0)

    with pytest.raises(TrainingError, match="no longer finite in epoch 2, batch 4"):
        fit(Unstable(), replace(EVERY_BATCH, clip_norm=None), checkpoints=clipless(folder))
    assert names(folder)[-1] == "checkpoint-0000000007.pt"


def clipless(folder: Path) -> Checkpoints:
    return checkpoints(folder, replace(EVERY_BATCH, clip_norm=None))


OTHERS: list[tuple[dict[str, Any], TrainingSettings, str]] = [
    (
        {**FROZEN, "release": {"name": "v1", "manifest_sha256": "b" * 64}},
        EVERY_BATCH,
        "another release.manifest_sha256: 'aaaa",
    ),
    ({**FROZEN, "split": {"train": ["S1"]}}, EVERY_BATCH, r"split.train: \['S1', 'S2'\], now \['"),
    ({**FROZEN, "method": "soft"}, EVERY_BATCH, "another method: absent, now 'soft'"),
    (
        FROZEN,
        replace(EVERY_BATCH, learning_rate=0.1),
        "another settings.learning_rate: 0.02, now 0.1; train with what it began with",
    ),
    (FROZEN, replace(EVERY_BATCH, epochs=9), "another settings.epochs: 4, now 9"),
]


@pytest.mark.parametrize(("frozen", "settings", "message"), OTHERS)
def test_another_configuration_does_not_go_on(
    folder: Path, frozen: dict[str, Any], settings: TrainingSettings, message: str
) -> None:
    """And what it began with still can."""
    fit(SmallTask(), EVERY_BATCH, checkpoints=checkpoints(folder))
    with pytest.raises(ModelFileError, match=message):
        fit(SmallTask(), settings, checkpoints=Checkpoints(folder, settings, frozen))
    free = replace(EVERY_BATCH, checkpoint_minutes=5.0, ahead=0)  # what does not change the result
    fit(SmallTask(), free, checkpoints=checkpoints(folder, free))


def test_a_model_of_another_shape_does_not_go_on(folder: Path) -> None:
    fit(SmallTask(), EVERY_BATCH, checkpoints=checkpoints(folder))
    with pytest.raises(ModelFileError, match="does not fit this model"):
        fit(PlainTask(), EVERY_BATCH, checkpoints=checkpoints(folder))


class Bomb:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/unpickled-by-pathquorum",)


def _saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _packed() -> bytes:
    """A checkpoint whose members are compressed: torch writes none such."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved({"format": "pathquorum-checkpoint/1"}))) as plain,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    return stream.getvalue()


WRONG: dict[str, bytes] = {
    "text": b"epoch 3, loss 0.4\n",
    "empty": b"",
    "pickle": pickle.dumps({"format": "pathquorum-checkpoint/1"}),
    "pickled code": _saved({"format": "pathquorum-checkpoint/1", "state": Bomb()}),
    "other zip": _packed(),
    "other format": _saved({"format": "pathquorum-checkpoint/2", "state": {}}),
    "bare weights": _saved({"weight": torch.zeros(3)}),
    "a list": _saved([1, 2, 3]),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_checkpoint_of_ours_is_refused(folder: Path, content: bytes) -> None:
    folder.mkdir()
    path = folder / "checkpoint-0000000003.pt"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as refused:
        fit(SmallTask(), EVERY_BATCH, checkpoints=checkpoints(folder))
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith("remove it")
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == content
    assert not Path("/tmp/unpickled-by-pathquorum").exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    folder: Path, kept: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """And if both are damaged, that is said and nothing begins anew."""
    task, alone = SmallTask(), SmallTask()
    with pytest.raises(TrainingStoppedError):
        fit(
            SmallTask(),
            EVERY_BATCH,
            checkpoints=checkpoints(folder),
            progress=sends(signal.SIGTERM, 6),
        )
    before, newest = (folder / name for name in names(folder))
    newest.write_bytes(newest.read_bytes()[: int(kept * newest.stat().st_size)])
    history = fit(task, SETTINGS, checkpoints=checkpoints(folder))
    assert "going on from the checkpoint before" in capsys.readouterr().err
    assert history == fit(alone, SETTINGS)
    assert same_weights(task.model, alone.model)
    for path in folder.iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ModelFileError, match="is no checkpoint of pathquorum"):
        fit(SmallTask(), EVERY_BATCH, checkpoints=checkpoints(folder))
    assert before.name.startswith("checkpoint-")


def test_a_full_disk_leaves_the_checkpoints_that_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [0]

    def full(handle: int) -> None:
        written[0] += 1
        if written[0] > 6:  # the file and its folder, three times
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.training.checkpoints.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fit(SmallTask(), EVERY_BATCH, checkpoints=checkpoints(folder))
    assert [name for name in names(folder) if not name.startswith(".")] == [
        "checkpoint-0000000002.pt",
        "checkpoint-0000000003.pt",
    ]
    monkeypatch.undo()
    task, alone = SmallTask(), SmallTask()
    fit(task, EVERY_BATCH, checkpoints=checkpoints(folder))
    fit(alone, SETTINGS)
    assert same_weights(task.model, alone.model)
    assert not list(folder.glob(".*"))
