"""Writing in a thread of its own, so that compressing goes on while more is made."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from io import RawIOBase
from typing import Any, Protocol

__all__ = ["WrittenBehind"]

_WAITING = 4


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


class WrittenBehind(RawIOBase):
    """Hands what is written to a file that is not closed with it, in order, some pieces behind.

    What goes wrong is raised by a later write, or at the latest when it is closed.
    """

    def __init__(self, file: _Sink) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1)
        self._pieces: deque[Future[int]] = deque()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Take a copy of a piece; waits while several are on their way."""
        piece = bytes(data)
        while len(self._pieces) >= _WAITING:
            self._pieces.popleft().result()
        self._pieces.append(self._thread.submit(self._file.write, piece))
        return len(piece)

    def close(self) -> None:
        """Wait until all is written."""
        if self.closed:
            return
        try:
            while self._pieces:
                self._pieces.popleft().result()
        finally:
            self._thread.shutdown()
            super().close()
