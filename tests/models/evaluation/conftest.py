"""Builders of targets and probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.targets import Targets

Build = Callable[..., Targets]


@pytest.fixture
def build_targets() -> Build:
    """Targets of items with these classes; each is a patient of its own unless told otherwise."""

    def build(
        hard: object,
        *,
        classes: tuple[str, ...] = ("G1", "G2", "G3"),
        votes: object = None,
        weight: object = None,
        group: object = None,
        site: object = None,
        part: str = "test",
        raters: tuple[str, ...] = (),
        **named: object,
    ) -> Targets:
        label = np.asarray(hard, dtype=np.int64)
        n = len(label)
        posterior = (label[:, None] == np.arange(len(classes))).astype(np.float32)
        return Targets(
            posterior=posterior,
            hard=label,
            votes=np.zeros((n, 0), np.int64) if votes is None else np.asarray(votes, np.int64),
            weight=np.ones(n, np.float32) if weight is None else np.asarray(weight, np.float32),
            group=np.arange(n) if group is None else np.asarray(group, np.int64),
            site=np.zeros(n, np.int64) if site is None else np.asarray(site, np.int64),
            part=np.full(n, part),
            classes=classes,
            ordered=True,
            raters=raters,
            **named,  # type: ignore[arg-type]
        )

    return build
