"""A backup: a zip of JSON Lines, one member a table, and a manifest that says what they must hold.

``manifest.json`` names the schema's revision, the head of the audit chain, and for each table its
columns, the number of its rows and the SHA-256 of its lines. It is the same whichever database the
store was in, and can be read without this software. When read, nothing is believed: members,
lines and their sizes are bounded, and what differs from the manifest is refused.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from annotation.errors import SourceError
from annotation.paths import replacing
from annotation.stores.rows import Source
from annotation.stores.schema import SOFTWARE_VERSION

__all__ = ["ArchiveSource", "Manifest", "TableEntry", "reading_archive", "write_archive"]

FORMAT = "pathquorum store 1"
_MANIFEST = "manifest.json"
_LONGEST_MANIFEST = 4 * 1024**2
_LONGEST_LINE = 1536 * 1024**2
"""SQLite's longest row is of 1 GB; its bytes are longer as base64."""
_MOST_TABLES = 1000
_MOST_EXPANSION = 500
"""Of JSON lines whose keys all differ, deflate makes less than that."""
_LEVEL = 3


class TableEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one table holds."""

    columns: list[str]
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds."""

    format: str
    software_version: str
    revision: str
    head: str
    tables: dict[str, TableEntry]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def write_archive(path: Path, source: Source, head: str) -> Manifest:
    """Write a backup; the file is there when it is complete."""
    entries: dict[str, TableEntry] = {}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        for name, columns in source.columns.items():
            digest, rows = hashlib.sha256(), 0
            with archive.open(_member(name), "w", force_zip64=True) as member:
                for line in source.lines(name):
                    member.write(line)
                    digest.update(line)
                    rows += 1
            entries[name] = TableEntry(columns, rows, digest.hexdigest())
        manifest = Manifest(FORMAT, SOFTWARE_VERSION, source.revision, head, entries)
        archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


class ArchiveSource:
    """The rows of a backup, each time they are read held against its manifest."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._path = path
        self.manifest = self._read_manifest()
        self.revision = self.manifest.revision
        self.columns = {name: entry.columns for name, entry in self.manifest.tables.items()}

    def _read_manifest(self) -> Manifest:
        members = self._archive.infolist()
        if len(members) > _MOST_TABLES + 1:
            raise self._fault(f"it has {len(members)} members")
        packed = self._path.stat().st_size
        if sum(member.file_size for member in members) > packed * _MOST_EXPANSION:
            raise self._fault("it says to hold more than a file of its size can")
        sizes = {member.filename: member.file_size for member in members}
        if sizes.get(_MANIFEST, _LONGEST_MANIFEST + 1) > _LONGEST_MANIFEST:
            raise self._fault("it has no manifest of a usable size")
        try:
            manifest = msgspec.json.decode(self._archive.read(_MANIFEST), type=Manifest)
        except (msgspec.DecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise self._fault(f"its manifest cannot be read ({error})") from error
        if manifest.format != FORMAT:
            raise self._fault(f"its format is {manifest.format!r}, not {FORMAT!r}")
        if sorted(sizes) != sorted((_MANIFEST, *map(_member, manifest.tables))):
            raise self._fault("its members are not the tables of its manifest")
        return manifest

    def lines(self, table: str) -> Iterator[bytes]:
        """All rows of a table.

        Raises
        ------
        SourceError
            They are not those that the manifest tells of.
        """
        entry = self.manifest.tables[table]
        digest, rows = hashlib.sha256(), 0
        try:
            with self._archive.open(_member(table)) as member:
                for line in _bounded_lines(member):
                    digest.update(line)
                    rows += 1
                    yield line
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise self._fault(f"table {table!r} cannot be read ({error})") from error
        if (rows, digest.hexdigest()) != (entry.rows, entry.sha256):
            raise self._fault(f"table {table!r} is not the one of its manifest")

    def _fault(self, what: str) -> SourceError:
        return SourceError(
            f"{self._path} is no backup that can be used: {what}; nothing was stored, "
            "use another backup",
            file=self._path,
        )


@contextmanager
def reading_archive(path: Path) -> Iterator[ArchiveSource]:
    """A backup, open to be read."""
    if not path.is_file():
        raise SourceError(f"there is no backup {path}; make one with `pathquorum store backup`")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise SourceError(
            f"{path} is no backup of a store ({error}); use another file", file=path
        ) from error
    with archive:
        yield ArchiveSource(archive, path)


def _member(table: str) -> str:
    return f"{table}.jsonl"


def _bounded_lines(member: IO[bytes]) -> Iterator[bytes]:
    while line := member.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE or not line.endswith(b"\n"):
            raise ValueError("a line is too long or cut off")
        yield line
