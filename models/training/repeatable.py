"""That the same seed gives the same weights: generators seeded, saved and put back; algorithms fixed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["generators", "put_back", "repeatable"]


@contextmanager
def repeatable(*, seed: int, deterministic: bool) -> Iterator[None]:
    """Seed every generator within, and leave all of them afterwards as they were.

    With ``deterministic`` torch takes only algorithms that give the same result twice; one that has
    no such form is a ``RuntimeError`` of torch's.
    """
    before = generators()
    flags = _flags()
    if deterministic:
        # Read by cuBLAS when it is first used; it has no deterministic form without.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        _set_flags((True, False, False, False))
    try:
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that other packages draw from
        random.seed(seed)
        yield
    finally:
        _set_flags(flags)
        put_back(before)


def generators() -> dict[str, Any]:
    """The state of the generators of Python, numpy and torch, as a checkpoint can hold it."""
    version, internal, gauss = random.getstate()
    drawn: dict[str, Any] = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "python": [version, list(internal), gauss],
        "numpy": {
            **drawn,
            "state": {
                "key": torch.from_numpy(drawn["state"]["key"].astype(np.int64)),
                "pos": drawn["state"]["pos"],
            },
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def put_back(state: Mapping[str, Any]) -> None:
    """Set the generators to what :func:`generators` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys = state["numpy"]["state"]
    drawn = {"key": keys["key"].numpy().astype(np.uint32), "pos": keys["pos"]}
    np.random.set_state({**state["numpy"], "state": drawn})  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


# Untyped in torch: fresh memory filled, which finds reads of what nobody wrote, at a price.
_filling: Any = torch.utils.deterministic


def _flags() -> tuple[bool, bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        _filling.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )


def _set_flags(flags: tuple[bool, bool, bool, bool]) -> None:
    deterministic, warn_only, fill, benchmark = flags
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    _filling.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
