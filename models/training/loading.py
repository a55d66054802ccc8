"""Batches in an order that depends on seed and epoch alone, loaded ahead of the model.

A position is three numbers (seed, epoch, batch): the order of an epoch and every draw within a
batch follow from them, so that a run which was killed goes on with the batches it would have seen.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.training.settings import TrainingSettings
from models.training.task import Task

__all__ = ["Part", "batches_of", "loaded"]

B = TypeVar("B")

# Streams of random numbers that must not meet: the first number after the seed.
ORDER, DRAWS = 0, 1


@dataclass(frozen=True)
class Part(Generic[B]):
    """A batch, or one of its halves, and how many items it has."""

    batch: B
    items: int


def batches_of(task: Task[B], batch: int) -> int:
    """How many batches an epoch has."""
    return math.ceil(len(task) / batch)


def loaded(
    task: Task[B], settings: TrainingSettings, *, epoch: int, start: int, parts: int
) -> Generator[list[Part[B]]]:
    """The epoch's batches from number ``start`` on, each in one part or in two halves.

    What ``Task.load`` raises is raised here, at its batch.
    """
    seed, batch = settings.seed, settings.batch
    order = _generator(seed, ORDER, epoch).permutation(len(task))
    numbers = range(start, batches_of(task, batch))

    def load(number: int) -> list[Part[B]]:
        items = order[number * batch : (number + 1) * batch]
        halves: list[NDArray[np.int64]] = np.array_split(items, min(parts, len(items)))
        return [
            Part(task.load(half, _generator(seed, DRAWS, epoch, number, index)), len(half))
            for index, half in enumerate(halves)
        ]

    if settings.ahead == 0:
        yield from map(load, numbers)
    else:
        with closing(_ahead(load, numbers, settings.ahead)) as batches:
            yield from batches


def _ahead(
    load: Callable[[int], list[Part[B]]], numbers: range, ahead: int
) -> Generator[list[Part[B]]]:
    """What ``load`` gives for each number, loaded by one thread at most ``ahead`` of the reader."""
    waiting: queue.Queue[list[Part[B]] | BaseException] = queue.Queue()
    room = threading.Semaphore(ahead)
    left = threading.Event()

    def work() -> None:
        for number in numbers:
            room.acquire()
            if left.is_set():
                return
            try:
                waiting.put(load(number))
            except BaseException as error:  # noqa: BLE001 - raised again where it is read
                waiting.put(error)
                return

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        for _ in numbers:
            item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        left.set()
        room.release()
        thread.join()


def _generator(seed: int, *place: int) -> np.random.Generator:
    # Of equal length always: numpy takes (1, 2) and (1, 2, 0) for the same seed.
    padded = (*place, *(0,) * (4 - len(place)))
    return np.random.default_rng([seed, *padded])
