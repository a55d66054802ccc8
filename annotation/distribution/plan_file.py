"""A plan as a CSV file, which people may look through and change before it is handed out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from annotation.audit import quoted_cell
from annotation.distribution.study_plan import PlannedRead, StudyPlan
from annotation.errors import InputError
from annotation.paths import replacing

__all__ = ["PlanFile", "read_plan", "write_plan"]

MAX_BYTES: Final = 50_000_000
_COLUMNS: Final = (
    "protocol", "annotator", "order", "slide", "site", "replicate", "washout_days", "not_before",
)  # fmt: skip
_MARKS: Final = ("'", "=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class PlanFile:
    """What a plan's file says, and its digest."""

    protocol: str
    reads: tuple[PlannedRead, ...]
    sha256: str

    def slides_of(self, replicate: int, only: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Of each annotator the slides of this reading, in their order.

        Raises
        ------
        InputError
            The plan has no such reading, or nothing for one of those who are asked for.
        """
        found: dict[str, list[str]] = {}
        for read in sorted(self.reads, key=lambda read: read.order):
            if read.replicate == replicate and (only is None or read.annotator in only):
                found.setdefault(read.annotator, []).append(read.slide)
        for handle in only or ():
            if handle not in found:
                raise InputError(
                    f"the plan has no replicate {replicate} for annotator {handle!r}; leave the "
                    "annotator out, or choose another plan",
                    annotator=handle,
                )
        if not found:
            raise InputError(f"the plan has no replicate {replicate}; choose another --replicate")
        return found

    def washout_days(self, replicate: int) -> int | None:
        """The washout before a reading, the same for all of it."""
        days = {read.washout_days for read in self.reads if read.replicate == replicate}
        if len(days) > 1:
            raise InputError(
                f"the plan gives replicate {replicate} several washouts; give all the same"
            )
        return days.pop() if days else None


def write_plan(plan: StudyPlan, path: Path) -> None:
    """Write a plan; a file that is there already is refused."""
    if path.exists():
        raise InputError(f"{path} is there already, so nothing was written; choose another --to")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for read in plan.reads:
        cells = (
            plan.request.protocol, read.annotator, read.order, read.slide, read.site,
            read.replicate, read.washout_days, read.not_before,
        )  # fmt: skip
        writer.writerow([quoted_cell(cell) for cell in cells])
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def _meant(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKS) else cell


def read_plan(path: Path) -> PlanFile:
    """Read a plan's file.

    Raises
    ------
    InputError
        It is no plan; the message names the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 10**6} MB and is no plan")
        raw = path.read_bytes()
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))
    except OSError as error:
        raise InputError(
            f"the plan {path} can't be read ({error.strerror}); make one with `pathquorum assign "
            "--plan --to FILE.csv`"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the plan {path} is no CSV in UTF-8 ({error}); save it as such") from None
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"the plan {path} lacks the column {missing[0]!r}; its columns are "
            f"{', '.join(_COLUMNS)}"
        )
    column = {name: header.index(name) for name in _COLUMNS}
    reads, protocols = [], []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"the plan {path} has {len(row)} cells in row {number}, its header {len(header)}; "
                "correct it"
            )
        cells = {name: _meant(row[index]) for name, index in column.items()}
        protocols.append(cells["protocol"])
        try:
            reads.append(_read(cells))
        except ValueError as error:
            raise InputError(f"the plan {path}, row {number}: {error}; correct it") from None
    _check(path, reads, protocols)
    return PlanFile(protocols[0], tuple(reads), hashlib.sha256(raw).hexdigest())


def _read(cells: dict[str, str]) -> PlannedRead:
    for name in ("protocol", "annotator", "slide"):
        if not cells[name]:
            raise ValueError(f"no {name}")
    replicate, washout = int(cells["replicate"]), cells["washout_days"]
    if replicate < 1:
        raise ValueError(f"replicate {replicate} counts from 1")
    if (replicate > 1) != bool(washout):
        raise ValueError("washout_days belong to a second reading, and every one has some")
    return PlannedRead(
        annotator=cells["annotator"],
        order=int(cells["order"]),
        slide=cells["slide"],
        site=cells["site"] or None,
        replicate=replicate,
        washout_days=int(washout) if washout else None,
        not_before=date.fromisoformat(cells["not_before"]) if cells["not_before"] else None,
    )


def _check(path: Path, reads: Sequence[PlannedRead], protocols: Sequence[str]) -> None:
    if not reads:
        raise InputError(f"the plan {path} has no reads; give a row for each")
    if len(set(protocols)) > 1:
        raise InputError(f"the plan {path} names several protocols; give each a plan of its own")
    keys = Counter((read.annotator, read.slide, read.replicate) for read in reads)
    (annotator, slide, replicate), times = keys.most_common(1)[0]
    if times > 1:
        raise InputError(
            f"the plan {path} gives {annotator!r} slide {slide!r} twice as replicate {replicate}; "
            "keep one"
        )
