"""The rows of a slide once more for another slide: other keys, UUIDs and places, else the same."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import msgspec
import numpy as np
import shapely
from sqlalchemy import JSON, select
from sqlalchemy.orm import Session

from annotation.digests import content_digests, geometry_digests
from annotation.geometry import to_wkb
from annotation.history import path_object
from annotation.tables import Annotation, Base, Revision

__all__ = ["LATEST", "Copied", "RepeatedRows"]

LATEST = 2
"""The number of the latest of the two consensus runs."""


@dataclass(frozen=True)
class Copied:
    """A slide that gets the rows of the first.

    ``reads`` and ``pulls`` are the keys of its own by those of the first slide's.
    """

    number: int
    slide: int
    name: str
    reads: Mapping[int, int]
    pulls: Mapping[int, int]


class RepeatedRows:
    """The rows of all tables that grow with what was drawn, of a store with one slide.

    Column by column, JSON as the store writes it: five million rows pass through here.
    """

    tables = (
        "annotations",
        "revisions",
        "consensus_items",
        "disputes",
        "decisions",
        "pushed_objects",
    )

    def __init__(self, session: Session) -> None:
        self._columns: dict[str, dict[str, list[Any]]] = {}
        for name in self.tables:
            table = Base.metadata.tables[name]
            rows = session.execute(select(table).order_by(table.c.id)).all()
            self._columns[name] = {
                column.name: list(values)
                for column, values in zip(table.c, zip(*rows, strict=True), strict=True)
            }
        items = self._columns["consensus_items"]
        self._majority = [Counter(said.values()).most_common(1)[0][0] for said in items["pattern"]]
        for name, columns in self._columns.items():
            for column in Base.metadata.tables[name].c:
                if isinstance(column.type, JSON):
                    columns[column.name] = [
                        None
                        if value is None
                        else msgspec.json.encode(value, order="sorted").decode()
                        for value in columns[column.name]
                    ]
        self._outlines = {
            name: shapely.from_wkb(columns["geometry"])
            for name, columns in self._columns.items()
            if "geometry" in columns
        }
        self._position = {
            name: {key: position for position, key in enumerate(columns["id"])}
            for name, columns in self._columns.items()
        }
        drawn = session.execute(
            select(Annotation, Revision)
            .join(Revision, Revision.annotation_id == Annotation.id)
            .order_by(Revision.id)
        )
        self._objects = [path_object(annotation, revision) for annotation, revision in drawn]

    def names(self, table: str) -> list[str]:
        """The columns of a table, in the order of the values of its rows."""
        return list(self._columns[table])

    def copies(
        self, name: str, slides: Sequence[Copied], first_key: Mapping[str, int], disputed: int
    ) -> Iterable[Sequence[Any]]:
        """The rows of a table for other slides.

        Parameters
        ----------
        first_key
            Of each table the first key that is free.
        disputed
            So many slides of the study have disputes in the latest run too.
        """
        for turn, slide in enumerate(slides):
            key = {
                table: first_key[table] + turn * len(columns["id"])
                for table, columns in self._columns.items()
            }
            columns = self._of_slide(name, slide, key)
            if slide.number < disputed:
                yield from zip(*columns.values(), strict=True)
                continue
            latest = self._of_latest(name)
            if name == "consensus_items":
                for column, undisputed in (
                    ("state", ["agreed"] * len(latest)),
                    ("label", self._majority),
                ):
                    columns[column] = np.where(latest, undisputed, columns[column]).tolist()
                latest = [False] * len(latest)
            yield from compress(zip(*columns.values(), strict=True), np.logical_not(latest))

    def _of_slide(self, name: str, slide: Copied, key: Mapping[str, int]) -> dict[str, Any]:
        columns: dict[str, Any] = dict(self._columns[name])
        n_rows = len(columns["id"])
        for column, table in (
            ("id", name),
            ("annotation_id", "annotations"),
            ("item_id", "consensus_items"),
            ("dispute_id", "disputes"),
        ):
            if column in columns:
                position = self._position[table]
                columns[column] = [key[table] + position[old] for old in columns[column]]
        for column, new in (("read_id", slide.reads), ("pull_id", slide.pulls)):
            if column in columns:
                columns[column] = [new[old] for old in columns[column]]
        if "slide_id" in columns:
            columns["slide_id"] = [slide.slide] * n_rows
        if "region" in columns:
            # Numbered within the run.
            most = max(columns["region"]) + 1
            columns["region"] = [region + most * slide.number for region in columns["region"]]
        if "uuid" in columns:
            drawn = np.random.default_rng([slide.number, self.tables.index(name)]).bytes(
                16 * n_rows
            )
            columns["uuid"] = [
                str(uuid.UUID(bytes=drawn[start : start + 16], version=4))
                for start in range(0, 16 * n_rows, 16)
            ]
        if name == "consensus_items":
            columns["name"] = [
                f"{slide.name}/{item.rpartition('/')[2]}" for item in columns["name"]
            ]
        if "geometry" in columns:
            aside = np.array([slide.number, 0])
            moved = shapely.transform(self._outlines[name], lambda xy: np.round(xy + aside, 2))
            columns["geometry"] = to_wkb(moved)
        if "geometry_digest" in columns:
            columns["geometry_digest"] = geometry_digests(moved)
        if name == "revisions":
            columns["digest"] = content_digests(self._objects, columns["geometry_digest"])
        return columns

    def _of_latest(self, name: str) -> list[bool]:
        """Which rows of a table belong to the latest run."""
        columns = self._columns[name]
        if name == "decisions":
            of_dispute = dict(
                zip(self._columns["disputes"]["id"], self._of_latest("disputes"), strict=True)
            )
            return [of_dispute[dispute] for dispute in columns["dispute_id"]]
        if "run_id" not in columns:
            return [False] * len(columns["id"])
        return [run == LATEST for run in columns["run_id"]]
