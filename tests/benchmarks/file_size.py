"""What a million annotations take of an SQLite file, and which part of it is what."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.benchmarks.grown_store import ANNOTATORS, commanded, slide_name, study, write_export

__all__ = ["print_file_size"]

SLIDES = 10

PAGES = """
SELECT CASE WHEN m.type = 'index' THEN 'index of ' || m.tbl_name ELSE m.tbl_name END, sum(d.pgsize)
FROM dbstat d JOIN sqlite_master m ON m.name = d.name GROUP BY 1 ORDER BY 2 DESC
"""


def print_file_size(folder: Path, objects: int) -> None:
    """Pull all of some slides by the commands, and print what the file holds, for a million."""
    folder.mkdir()
    path = folder / "store.db"
    url = f"sqlite:///{path}"
    for reader, handle in enumerate(ANNOTATORS):
        for number in range(SLIDES):
            export = folder / handle / f"{slide_name(number)}.geojson"
            write_export(export, number, objects, reader)
    pulls = [
        ("pull", folder / handle, "--annotator", handle, "--protocol", "growth")
        for handle in ANNOTATORS
    ]
    commanded(url, *study(folder, SLIDES), *pulls)
    count = SLIDES * len(ANNOTATORS) * objects
    million_mb = 1e6 / count / 1e6
    size = path.stat().st_size * million_mb
    print(
        f"\nSQLite: {size:,.0f} MB for 1 M annotations of 32 vertices and one measurement "
        f"({count:,} pulled)"
    )
    with closing(sqlite3.connect(path)) as file:
        (rows,) = file.execute("SELECT count(*) FROM revisions")
        if rows != (count,):
            raise SystemExit(f"{rows[0]} revisions where {count} objects were pulled")
        (outlines,) = file.execute("SELECT sum(length(geometry)) FROM revisions").fetchone()
        parts = [("of it outlines in revisions", outlines), *file.execute(PAGES)]
    for name, size_bytes in parts:
        if size_bytes * million_mb >= 1:
            print(
                f"  {name:52} {size_bytes * million_mb:8,.0f} MB {size_bytes * million_mb / size:6.1%}"
            )
