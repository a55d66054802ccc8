"""How worker processes begin.

Where the system has it, they are forked from a server that has imported everything and opened
nothing: a worker that was lost is there again at once, and not after the seconds that torch takes.
Elsewhere they are spawned. Either way they share no connection, file or GPU with their supervisor.

References
----------
https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods
"""

from __future__ import annotations

import multiprocessing
from typing import Any

__all__ = ["starting"]

_SERVER = "forkserver"
_PRELOADED = [
    "models.prediction.workers",
    "models.prediction.predictor",
    "models.prediction.regions_file",
    "sqlalchemy.dialects.sqlite.pysqlite",
]


def starting() -> Any:
    """The context of multiprocessing in which workers begin."""
    if _SERVER not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context(_SERVER)
    context.set_forkserver_preload(_PRELOADED)
    return context
