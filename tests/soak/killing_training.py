"""A training that is killed again and again, beside one that is left alone.

``python -m tests.soak.killing_training FOLDER KILLS SEED`` prints one JSON document. That process
imports torch once and computes nothing before its forks are done: each attempt is one of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from models.training.checkpoints import Checkpoints
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.conftest import PROJECT_ROOT
from tests.models.training.small_task import SETTINGS, SmallTask, same_weights

MOST_BATCHES = 5
"""Between a start and its kill."""
LONGEST_S = 0.02
"""After the last of them; a batch with its checkpoint takes less."""


class KilledTraining(msgspec.Struct, frozen=True):
    """What was found.

    Attributes
    ----------
    batches
        Of the whole training.
    stood_at
        The batch of the newest checkpoint after each kill.
    learnt
        Whether the weights are others than in the beginning.
    """

    kills: int
    batches: int
    stood_at: list[int]
    same_weights: bool
    same_history: bool
    learnt: bool


def killed_training(folder: Path, *, kills: int, seed: int) -> KilledTraining:
    """Kill a training at random moments and hold it against one that is left alone.

    Raises
    ------
    AssertionError
        It could not go on.
    """
    said = subprocess.run(
        [sys.executable, "-m", "tests.soak.killing_training", str(folder), str(kills), str(seed)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr.decode()
    return msgspec.json.decode(said.stdout, type=KilledTraining)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill, go on, and compare."""
    rng = random.Random(seed)
    # Makes torch import what every fork would import anew, for seconds.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    # So many batches that no start reaches the end before the last kill.
    settings = replace(SETTINGS, epochs=2 + kills * (MOST_BATCHES + 4) // 4, checkpoint_minutes=0.0)
    stood_at = []
    for _ in range(kills):
        reading, writing = os.pipe()
        child = _forked(lambda to=writing: _train(folder / "killed", settings, to))
        os.close(writing)
        for _ in range(rng.randint(0, MOST_BATCHES)):
            os.read(reading, 1)
        time.sleep(rng.uniform(0.0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(reading)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a training ended before it was killed")
        stood_at.append(_newest(folder / "killed"))
    for name in ("killed", "alone"):
        child = _forked(lambda name=name: _train(folder / name, settings))
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"the training {name} failed")
    killed, alone = SmallTask(), SmallTask()
    histories = [
        fit(task, settings, checkpoints=Checkpoints(folder / name, settings, {}))
        for task, name in ((killed, "killed"), (alone, "alone"))
    ]
    found = KilledTraining(
        kills=kills,
        batches=settings.epochs * 4,
        stood_at=stood_at,
        same_weights=same_weights(killed.model, alone.model),
        same_history=histories[0] == histories[1],
        learnt=not same_weights(killed.model, SmallTask().model),
    )
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _train(folder: Path, settings: TrainingSettings, told: int | None = None) -> None:
    torch.set_num_threads(1)

    def tell(step: int, steps: int, loss: float) -> None:
        if told is not None:
            os.write(told, b".")

    fit(SmallTask(), settings, checkpoints=Checkpoints(folder, settings, {}), progress=tell)


def _newest(folder: Path) -> int:
    """The batch that the newest checkpoint stands at; 0 without one."""
    steps = [int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.pt")]
    return max(steps, default=0)


def _forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
