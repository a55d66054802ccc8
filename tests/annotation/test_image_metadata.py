"""Scores in a project's file: they come in and out, and everything else in it stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from annotation.projects.image_metadata import with_metadata
from annotation.pushed import REFERENCE_ONLY, pushes_in_metadata, scores_key

text = st.text(max_size=8)
entries = st.dictionaries(text, text, max_size=3)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(
    theirs=st.lists(st.none() | entries, min_size=1, max_size=3),
    rest=st.dictionaries(text, anything, max_size=3),
    ours=st.dictionaries(text.map(lambda name: f"pathquorum p1: {name}"), text, min_size=1),
)
def test_what_is_put_in_comes_out_again_and_nothing_else_changes(
    theirs: list[dict[str, str] | None], rest: dict[str, Any], ours: dict[str, str]
) -> None:
    images: list[dict[str, Any]] = [
        {"entryID": i, "other": rest, **({} if held is None else {"metadata": held})}
        for i, held in enumerate(theirs)
    ]
    content = json.dumps({**rest, "images": images}).encode()
    changed = with_metadata(Path("project.qpproj"), content, {0: ours})
    first, *others = json.loads(changed)["images"]
    assert first["metadata"] == {**(theirs[0] or {}), **ours}
    assert others == json.loads(content)["images"][1:]
    back = json.loads(with_metadata(Path("project.qpproj"), changed, {0: dict.fromkeys(ours)}))
    if theirs[0] is None:
        assert back["images"][0].pop("metadata") == {}
    assert back == json.loads(content)


@given(run=st.text(min_size=1, max_size=8), theirs=entries, label=text)
def test_scores_tell_the_run_that_they_are_of_whatever_it_is_called(
    run: str, theirs: dict[str, str], label: str
) -> None:
    key = scores_key(run)
    metadata = {**theirs, key: f"{REFERENCE_ONLY}; model m", f"{key}: {label}": "0.7"}
    assert pushes_in_metadata(metadata) == {f"predictions/{run}"}
    assert pushes_in_metadata(theirs) == set()
