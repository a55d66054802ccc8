"""Tiles of many slides, read through few handles at a time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.slide_images import unchanged_image
from models.datasets.releases import ReleasedSlide
from models.reader import Reader, open_reader

__all__ = ["SlidePixels"]

_MOST_OPEN = 8


class _OpenReaders(OrderedDict[int, Reader]):
    """The readers of one thread by slide; they are closed when the thread ends and nobody has them."""

    def __del__(self) -> None:
        for reader in self.values():
            reader.close()


class SlidePixels:
    """Reads tiles of a release's slides.

    Each thread has handles of its own, at most 8 at a time; a process that was forked or started
    anew opens its own, and handles are closed with their thread.

    Raises
    ------
    SlideError
        A slide has no image.
    RefusedError
        A slide's image is not the one that was released.
    """

    def __init__(self, slides: Sequence[ReleasedSlide]) -> None:
        self._images = [(unchanged_image(slide), slide.mpp) for slide in slides]
        self._open = threading.local()

    def read(
        self, slide: int, x_px: float, y_px: float, *, mpp: float, size_px: int
    ) -> NDArray[np.uint8]:
        """The tile with this upper left corner in level-0 pixels, (size_px, size_px, 3)."""
        return self._reader(slide).read(x_px, y_px, mpp=mpp, size_px=size_px)

    def _reader(self, slide: int) -> Reader:
        if getattr(self._open, "process", None) != os.getpid():
            self._open.process, self._open.readers = os.getpid(), _OpenReaders()
        readers: _OpenReaders = self._open.readers
        if slide not in readers:
            if len(readers) >= _MOST_OPEN:
                readers.popitem(last=False)[1].close()
            path, slide_mpp = self._images[slide]
            readers[slide] = open_reader(path, mpp=slide_mpp)
        readers.move_to_end(slide)
        return readers[slide]

    def close(self) -> None:
        """Close what this thread has open."""
        vars(self._open).clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_images": self._images}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._images, self._open = state["_images"], threading.local()
