"""Signals that ask a training to stop: it finishes its batch, writes a checkpoint, and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "listening"]

SIGNALS = ("SIGTERM", "SIGUSR1")


class Stop:
    """Whether a signal has come, and which."""

    def __init__(self) -> None:
        self.signal = ""

    def come(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; called by the interpreter between two of its steps."""
        self.signal = signal.Signals(number).name

    def __bool__(self) -> bool:
        return bool(self.signal)


@contextmanager
def listening(*, wanted: bool, interrupts: bool = False) -> Iterator[Stop]:
    """Note SIGTERM and SIGUSR1 within, and leave their handlers afterwards as they were.

    With ``interrupts`` Ctrl+C (SIGINT) is noted as well.

    Only a process's main thread may have handlers; in another one, and where they are not wanted,
    nothing is noted and the signals do what they did.
    """
    stop = Stop()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = (*SIGNALS, "SIGINT") if interrupts else SIGNALS
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, stop.come) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # None is a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
