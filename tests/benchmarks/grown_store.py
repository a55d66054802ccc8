"""A large store on PostgreSQL: one slide through the commands, its rows repeated for other slides.

Pulling five million objects takes a quarter of an hour. So one slide is pulled, fused, decided and
pushed by the commands; every other slide gets copies of its rows by COPY, with keys, UUIDs, outlines
and digests of its own, the latter by the functions that a pull calls. Slides, reads, pulls and
events are written as the commands write them. In one thing the store is smaller than one that was
pulled: the kept source of a repeated read is a line that says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from psycopg import sql
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.source_files import keeping
from annotation.store import SOFTWARE_VERSION, create_or_upgrade, now
from annotation.stores.filling import set_sequences
from annotation.study import add_slide_without_image
from annotation.tables import Annotator, Base, Pull, PullRead, Read
from consensus.tables import Dispute
from tests.benchmarks.measure import cost_of
from tests.benchmarks.repeated_rows import LATEST, Copied, RepeatedRows

__all__ = ["ANNOTATORS", "FIRST", "GrownStore", "commanded", "slide_name", "study", "write_export"]

ANNOTATORS = ("R1", "R2", "R3", "R4", "R5")
WIDTH_PX = 100_000
MPP = 0.25
MOST_SLIDES = 1_000
"""Each slide's outlines lie one pixel beside those of the slide before, and within the image."""

PROTOCOL = """
name = "growth"
version = "1"
task = "objects"
[consensus]
quorum = 0.7
[[classes]]
name = "Tumor"
[[classes]]
name = "Stroma"
"""

RUN = """
import json, os, sys
from annotation.cli import run
told = os.dup(1)
os.dup2(2, 1)
for arguments in json.loads(sys.argv[1]):
    assert run(arguments) == 0, arguments
"""


def slide_name(number: int) -> str:
    """The slides are numbered from 0; the first is the one that was pulled."""
    return f"S{number:04}"


FIRST = slide_name(0)


def commanded(url: str, *commands: Sequence[object]) -> None:
    """Run command lines on a store, in a process of their own."""
    lines = [[*map(str, arguments), "--store", url] for arguments in commands]
    cost_of(RUN, json.dumps(lines))


def study(folder: Path, slides: int) -> list[tuple[object, ...]]:
    """The command lines that make a store with a protocol, five who read, a lead and slides."""
    protocol = folder / "growth.toml"
    protocol.write_text(PROTOCOL)
    size = ("--width", WIDTH_PX, "--height", WIDTH_PX, "--mpp", MPP)
    return [
        ("init",),
        ("protocol", "add", protocol),
        *(("annotator", "add", handle, "--role", "pathologist") for handle in ANNOTATORS),
        ("annotator", "add", "L", "--role", "lead"),
        *(
            ("slide", "add", name, "--patient", name, *size)
            for name in map(slide_name, range(slides))
        ),
    ]


def write_export(path: Path, seed: int, count: int, reader: int = 0) -> None:
    """An export of round outlines of 32 vertices; readers differ by a little in outline and class.

    Parameters
    ----------
    seed
        Of the places and the true classes, which are the same for all readers.
    """
    places, own = np.random.default_rng(seed), np.random.default_rng([seed, reader])
    centre = places.uniform(100, WIDTH_PX - MOST_SLIDES - 100, (count, 1, 2))
    classes = places.random(count) < 0.5
    classes ^= own.random(count) < 0.08
    turn = np.arange(32) * math.tau / 32
    around = 20 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    ring = centre + around + own.uniform(-1, 1, (count, 32, 2))
    ring = np.round(np.concatenate([ring, ring[:, :1]], axis=1), 2)
    features = [
        {
            "type": "Feature",
            "id": str(uuid.UUID(bytes=own.bytes(16), version=4)),
            "geometry": {"type": "Polygon", "coordinates": [vertices]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": "Tumor" if tumor else "Stroma"},
                "measurements": {"Area": round(float(own.random()), 6)},
            },
        }
        for vertices, tumor in zip(ring.tolist(), classes, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


class GrownStore:
    """A store of which one slide went through the commands, and which grows by copies of it.

    Parameters
    ----------
    url
        Of an empty database.
    objects
        That each annotator drew on each slide.
    """

    def __init__(self, url: str, folder: Path, objects: int) -> None:
        self.url = url
        self.slides = 1
        pulls = []
        for reader, handle in enumerate(ANNOTATORS):
            export = folder / handle / f"{FIRST}.geojson"
            write_export(export, 0, objects, reader)
            pulls.append(("pull", export, "--annotator", handle, "--protocol", "growth"))
        run = ("consensus", "run", "--protocol", "growth", "--method", "majority")
        commanded(
            url,
            *study(folder, 1),
            *pulls,
            run,
            run,
            ("push", "--run", 1, "--to", folder / "pushed"),
        )
        self._store = create_or_upgrade(url)[0]
        with self._store.reading() as session:
            latest = select(Dispute.id).where(Dispute.run_id == LATEST).order_by(Dispute.id)
            decided = session.scalars(latest).all()[::2]
        answer = ("--class", "Tumor", "--by", "L", "--reason", "seen")
        commanded(url, ("adjudicate", "decide", *decided, *answer))
        with self._store.reading() as session:
            self._repeated = RepeatedRows(session)
            self._reads = session.scalars(select(Read).order_by(Read.id)).all()
            self._pull_reads = session.scalars(select(PullRead).order_by(PullRead.read_id)).all()

    def grow(self, slides: int, *, disputed: int) -> None:
        """Bring the store to so many slides.

        The first consensus run has disputes on all of them, the second, which is the latest, on the
        first ``disputed`` slides alone.
        """
        with self._store.writing() as session:
            written = [self._write_slide(session, n) for n in range(self.slides, slides)]
            first_key = {
                name: (session.scalar(select(func.max(Base.metadata.tables[name].c.id))) or 0) + 1
                for name in self._repeated.tables
            }
        raw = self._store.engine.raw_connection()
        try:
            cursor = raw.cursor()
            # Whether all references hold is checked of the small store, not row by row.
            cursor.execute("SET LOCAL session_replication_role = replica")
            for name in self._repeated.tables:
                target = sql.SQL("COPY {} ({}) FROM STDIN").format(
                    sql.Identifier(name),
                    sql.SQL(", ").join(map(sql.Identifier, self._repeated.names(name))),
                )
                with cursor.copy(target) as copy:
                    for row in self._repeated.copies(name, written, first_key, disputed):
                        copy.write_row(row)
            raw.commit()
        finally:
            raw.close()
        with self._store.engine.begin() as connection:
            set_sequences(connection, Base.metadata.tables.values())
        self.slides = slides

    def _write_slide(self, session: Session, number: int) -> Copied:
        """What comes of a slide and its pulls beside the objects, as the commands write it."""
        name = slide_name(number)
        slide = add_slide_without_image(
            session, name, width_px=WIDTH_PX, height_px=WIDTH_PX, mpp=MPP, patient=name
        )
        reads, pulls = {}, {}
        for read, pulled in zip(self._reads, self._pull_reads, strict=True):
            annotator = session.get_one(Annotator, read.annotator_id)
            mine = Read(
                slide_id=slide.id,
                annotator_id=annotator.id,
                protocol_id=read.protocol_id,
                replicate=1,
            )
            pull = Pull(at=now(), source=f"{name}.geojson", software_version=SOFTWARE_VERSION)
            session.add_all([mine, pull])
            session.flush()
            reads[read.id], pulls[pulled.pull_id] = mine.id, pull.id
            content = f"{annotator.handle} on {name}, repeated".encode()
            sha256 = hashlib.sha256(content).hexdigest()
            with keeping(session, sha256, content):
                pass
            session.add(
                PullRead(
                    pull_id=pull.id,
                    read_id=mine.id,
                    source_sha256=sha256,
                    read_date=pulled.read_date,
                    read_date_source=pulled.read_date_source,
                    counts=pulled.counts,
                    rejections=pulled.rejections,
                    copied=pulled.copied,
                    excluded=pulled.excluded,
                    circumstances=pulled.circumstances,
                )
            )
            counts = {key: value for key, value in pulled.counts.items() if type(value) is int}
            record(
                session,
                actor=annotator,
                action="pulled",
                subject=f"pull:{pull.id}",
                new={"reads": [{"read": mine.id, **counts}]},
            )
        return Copied(number, slide.id, name, reads, pulls)

    def close(self) -> None:
        """Give back the connections."""
        self._store.close()
