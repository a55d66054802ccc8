"""A long table of ratings in a file: replicates of its raters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consensus.errors import TableFileError
from consensus.long_table import read_long_table


def write_table(path: Path, rows: list[tuple[object, ...]], *more: str) -> Path:
    lines = [",".join(("item", "rater", "label", *more)), *(",".join(map(str, r)) for r in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


ROWS: list[tuple[object, ...]] = [
    *((item, rater, "a" if item % 2 else "b", 1) for item in range(8) for rater in ("A", "B")),
    *((item, "A", "a" if item in (1, 3, 5, 6) else "b", 2) for item in range(8)),
]


def test_a_table_without_second_readings_is_the_same_with_and_without_the_column(
    tmp_path: Path,
) -> None:
    firsts = [row for row in ROWS if row[3] == 1]
    with_column = read_long_table(write_table(tmp_path / "a.csv", firsts, "replicate"))
    without = read_long_table(write_table(tmp_path / "b.csv", [row[:3] for row in firsts]))
    assert with_column.replicates == without.replicates == {}
    assert np.array_equal(with_column.ratings.codes, without.ratings.codes)
    assert with_column.ratings.notes == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, "A", "x", 0)], "line 2 has replicate '0'; count"),
        ([(1, "A", "x", "two")], "line 2 has replicate 'two'; count"),
        ([(1, "A", "x", 2)], "has no row of replicate 1"),
        (
            [(1, "A", "x", 2), (1, "A (replicate 2)", "x", 1)],
            "name is that of another one's replicate",
        ),
    ],
)
def test_replicates_that_do_not_count_are_refused(
    tmp_path: Path, rows: list[tuple[object, ...]], message: str
) -> None:
    with pytest.raises(TableFileError, match=message):
        read_long_table(write_table(tmp_path / "t.csv", rows, "replicate"))
