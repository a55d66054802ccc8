"""One engine a store and process: what it has compiled serves whoever opens the store again.

Connections are given back when the last of those who have the store open closes it.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.engine import URL

from annotation.stores.engines import open_engine

__all__ = ["give_back", "take"]

_MOST_IDLE = 4


@dataclass
class _Shared:
    engine: Engine
    users: int = 0


# By process too: what was forked must not use its parent's connections.
_shared: dict[tuple[int, URL], _Shared] = {}
_lock = threading.Lock()


def take(url: URL) -> Engine:
    """The engine of a store, to be given back."""
    key = (os.getpid(), url)
    with _lock:
        found = _shared.pop(key, None)
        if found is None:
            found = _Shared(open_engine(url))
        _shared[key] = found
        found.users += 1
        idle = [key for key, one in _shared.items() if not one.users]
        for key in idle[:-_MOST_IDLE]:
            del _shared[key]
        return found.engine


def give_back(engine: Engine) -> None:
    """Close its connections, unless others still use it."""
    with _lock:
        for one in _shared.values():
            if one.engine is engine:
                one.users -= 1
                if one.users:
                    return
        engine.dispose()
