"""Tiles in their order, read ahead by threads that each have a reader of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from models.errors import TileError
from models.reader import Reader
from models.reading.resampling import Pixels

__all__ = ["iterate"]

# Neighbours are read by one thread, which has what they share still decoded.
_RUN = 16


def iterate(
    reader: Reader,
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    *,
    mpp: float,
    size_px: int,
    threads: int = 2,
    ahead: int = 64,
    missing: Callable[[int, TileError], None] | None = None,
) -> Generator[tuple[int, Pixels], None, None]:
    """Yield (index, tile) in the order of the corners; memory holds about `ahead` tiles.

    Parameters
    ----------
    reader
        It is not read from itself: each thread has another, closed at the end.
    x_px, y_px : shape (n_tiles,)
        Upper left corners in level-0 pixels.
    threads
        How many read; decoding runs beside Python, so this many cores are used.
    missing
        Told the index of each tile that can't be read, and why; the tile is left out. None: the
        first of them is raised when its turn comes.
    """
    plan = reader.plan(mpp=mpp, size_px=size_px)
    reader.way(plan.level)  # probed once, for all
    idle: SimpleQueue[Reader] = SimpleQueue()
    readers = [reader.another() for _ in range(threads)]
    for each in readers:
        idle.put(each)

    def read_run(first: int) -> list[Pixels | TileError]:
        mine = idle.get()
        try:
            return [
                _tile(mine, float(x), float(y), mpp, size_px)
                for x, y in zip(x_px[first : first + _RUN], y_px[first : first + _RUN], strict=True)
            ]
        finally:
            idle.put(mine)

    firsts = iter(range(0, len(x_px), _RUN))
    pending: deque[tuple[int, Future[list[Pixels | TileError]]]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="tiles")
    try:
        while True:
            while (
                len(pending) < max(threads, ahead // _RUN) and (n := next(firsts, None)) is not None
            ):
                pending.append((n, executor.submit(read_run, n)))
            if not pending:
                return
            first, run = pending.popleft()
            for index, tile in enumerate(run.result(), first):
                if not isinstance(tile, TileError):
                    yield index, tile
                elif missing is None:
                    raise tile
                else:
                    missing(index, tile)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        for each in readers:
            each.close()


def _tile(reader: Reader, x_px: float, y_px: float, mpp: float, size_px: int) -> Pixels | TileError:
    try:
        return reader.read(x_px, y_px, mpp=mpp, size_px=size_px)
    except TileError as error:
        return error
