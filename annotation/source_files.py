"""The raw bytes that pulls saw: kept once under their SHA-256, compressed, in bounded pieces."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from annotation.errors import NotAStoreError
from annotation.tables import SourceChunk, SourceFile

__all__ = ["CHUNK_BYTES", "keep", "source_bytes"]

# A database holds a row in memory while it writes it; SQLite's largest row is 1 GB.
CHUNK_BYTES = 16 * 1024 * 1024
# Level 1 takes a sixth of the time of the default and leaves JSON a tenth larger.
_LEVEL = 1


def keep(session: Session, sha256: str, data: bytes | memoryview) -> bool:
    """Store a file's bytes, unless they are there. Returns whether they are new."""
    if session.get(SourceFile, sha256) is not None:
        return False
    starts = range(0, len(data), CHUNK_BYTES)
    session.add(SourceFile(sha256=sha256, size_bytes=len(data), chunks=len(starts)))
    session.flush()
    for position, start in enumerate(starts):
        piece = zlib.compress(data[start : start + CHUNK_BYTES], _LEVEL)
        session.execute(
            insert(SourceChunk), {"sha256": sha256, "position": position, "data": piece}
        )
    return True


def source_bytes(session: Session, sha256: str) -> Iterator[bytes]:
    """A stored file, piece by piece, checked against its SHA-256 at the end."""
    digest = hashlib.sha256()
    pieces = session.scalars(
        select(SourceChunk.data)
        .where(SourceChunk.sha256 == sha256)
        .order_by(SourceChunk.position)
        .execution_options(yield_per=1)
    )
    for compressed in pieces:
        piece = zlib.decompress(compressed)
        digest.update(piece)
        yield piece
    if digest.hexdigest() != sha256:
        raise NotAStoreError(
            f"the stored source file {sha256[:12]} is damaged; bring back a backup of the store"
        )
