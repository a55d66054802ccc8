"""The raw bytes that pulls saw: kept once under their SHA-256, compressed, in bounded pieces."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from annotation.errors import NotAStoreError
from annotation.tables import SourceChunk, SourceFile

__all__ = ["CHUNK_BYTES", "keeping", "source_bytes"]

# A database holds a row in memory while it writes it; SQLite's largest row is 1 GB.
CHUNK_BYTES = 16 * 1024 * 1024
# Level 1 takes a sixth of the time of the default and leaves JSON a tenth larger.
_LEVEL = 1


@contextmanager
def keeping(session: Session, sha256: str, data: bytes | memoryview) -> Iterator[None]:
    """Store a file's bytes when the block ends well, unless they are there.

    They are compressed meanwhile in a thread: zlib works beside the interpreter, and for a large
    export takes a fifth of the time of a pull.
    """
    if session.get(SourceFile, sha256) is not None:
        yield
        return
    view = memoryview(data)
    with ThreadPoolExecutor(max_workers=1) as pool:
        starts = range(0, len(data), CHUNK_BYTES)
        pieces = [
            pool.submit(zlib.compress, view[start : start + CHUNK_BYTES], _LEVEL)
            for start in starts
        ]
        yield
        session.add(SourceFile(sha256=sha256, size_bytes=len(data), chunks=len(starts)))
        session.flush()
        for position, piece in enumerate(pieces):
            session.execute(
                insert(SourceChunk),
                {"sha256": sha256, "position": position, "data": piece.result()},
            )


def source_bytes(session: Session, sha256: str) -> Iterator[bytes]:
    """A stored file, piece by piece, checked against its SHA-256 at the end."""
    digest = hashlib.sha256()
    pieces = session.scalars(
        select(SourceChunk.data)
        .where(SourceChunk.sha256 == sha256)
        .order_by(SourceChunk.position)
        .execution_options(yield_per=1)
    )
    with closing(pieces):  # the cursor stands on the server, also where the reader stops early
        for compressed in pieces:
            piece = zlib.decompress(compressed)
            digest.update(piece)
            yield piece
    if digest.hexdigest() != sha256:
        raise NotAStoreError(
            f"the stored source file {sha256[:12]} is damaged; bring back a backup of the store"
        )
