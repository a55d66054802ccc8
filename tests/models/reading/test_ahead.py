"""Tiles read ahead by threads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from models.errors import TileError
from models.reader import open_reader
from models.reading.ahead import iterate

X, Y = (each.ravel().astype(np.float64) for each in np.meshgrid(np.arange(-60, 700, 50), np.arange(0, 520, 40)))  # fmt: skip


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (2, 16), (5, 200)])
def test_tiles_come_in_order_and_are_those_of_one_reader(
    slide_path: Path, threads: int, ahead: int
) -> None:
    with open_reader(slide_path) as reader:
        got = list(iterate(reader, X, Y, mpp=0.5, size_px=32, threads=threads, ahead=ahead))
        assert [index for index, _ in got] == list(range(len(X)))
        for index, tile in got[::7]:
            assert np.array_equal(tile, reader.read(X[index], Y[index], mpp=0.5, size_px=32))


def test_no_more_is_read_ahead_than_asked_for(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow whoever takes the tiles is, so that memory stays bounded."""
    from models.reader import Reader

    read, lock, begun = Reader.read, threading.Lock(), [0]

    def counting(self: Reader, *place: float, **options: float) -> object:
        with lock:
            begun[0] += 1
        return read(self, *place, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "read", counting)
    with open_reader(slide_path) as reader:
        tiles = iterate(reader, X, Y, mpp=0.25, size_px=16, threads=2, ahead=64)
        for index, _ in tiles:
            assert begun[0] <= index + 16 + 64
        assert begun[0] == len(X)


def test_threads_and_handles_end_with_the_loop(slide_path: Path) -> None:
    with open_reader(slide_path) as reader:
        reader.read(0, 0, mpp=0.25, size_px=16)
        before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            tiles = iterate(reader, X, Y, mpp=0.25, size_px=16, threads=3)
            next(tiles)
            tiles.close()
        assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_a_corrupt_tile_is_raised_in_its_turn_or_told_and_left_out(
    slide_path: Path, tmp_path: Path
) -> None:
    with tifffile.TiffFile(slide_path) as tiff:
        begin, count = tiff.pages[0].dataoffsets[8], tiff.pages[0].databytecounts[8]
    data = bytearray(slide_path.read_bytes())
    data[begin : begin + count] = bytes(count)
    path = tmp_path / "B.tiff"
    path.write_bytes(data)
    touches = (X + 32 > 256) & (X < 384) & (Y + 32 > 128) & (Y < 256)
    with open_reader(path) as reader:
        tiles = iterate(reader, X, Y, mpp=0.25, size_px=32)
        for expected in range(int(touches.argmax())):
            assert next(tiles)[0] == expected
        with pytest.raises(TileError, match="tile column 2, row 1"):
            next(tiles)
        told: list[int] = []
        tiles = iterate(
            reader, X, Y, mpp=0.25, size_px=32, missing=lambda index, _: told.append(index)
        )
        assert [index for index, _ in tiles] == np.flatnonzero(~touches).tolist()
        assert told == np.flatnonzero(touches).tolist()
        assert told
