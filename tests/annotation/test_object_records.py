"""Many objects in few bytes each: what differs is told, and what was put in comes out."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.object_records import ObjectRecords

Record: TypeAlias = tuple[str, str | None, bytes]

# Few values, so that some are alike.
record = st.tuples(
    st.integers(0, 5).map(lambda n: f"00000000-0000-4000-8000-00000000000{n}"),
    st.sampled_from([None, "", "A", "B"]),
    st.integers(0, 3).map(lambda n: bytes([n]) * 16),
)
records = st.lists(record, max_size=6)


def held(given: list[Record], pieces: int = 1) -> ObjectRecords:
    made = ObjectRecords()
    for i in range(0, len(given), pieces):
        made.add(*zip(*given[i : i + pieces], strict=True))
    return made


@given(one=records, other=records, pieces=st.integers(1, 6))
def test_records_are_equal_as_lists_of_them_are(
    one: list[Record], other: list[Record], pieces: int
) -> None:
    assert list(held(one, pieces)) == one
    assert (held(one) == held(other)) is (one == other)
    assert held(one) == held(one, pieces)
    assert held(one).distinct == len({uuid for uuid, _, _ in one})


def test_what_is_no_uuid_is_refused() -> None:
    for uuid in ("None", "abcd"):
        with pytest.raises(ValueError):  # noqa: PT011 - bytes.fromhex has words of its own
            ObjectRecords().add([uuid], [None], [bytes(16)])
