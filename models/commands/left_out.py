"""What ``--allow-missing`` left out must not pass unseen by a script: the exit status is 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from annotation.terminal import counted
from models.errors import TileError

__all__ = ["require_none_left_out"]

_NAMED = 5


def require_none_left_out(skipped: Sequence[Mapping[str, str]], done: str) -> None:
    """Say what was left out, once the rest is done.

    Parameters
    ----------
    skipped
        ``slide`` and ``reason`` of each.
    done
        Where the result lies.

    Raises
    ------
    TileError
        Something was.
    """
    if not skipped:
        return
    named = ", ".join(f"{one['slide']!r}" for one in skipped[:_NAMED])
    named += f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    raise TileError(
        f"{counted(len(skipped), 'slide')} left out: {named} ({skipped[0]['reason']}); {done}",
        slides=tuple(one["slide"] for one in skipped),
    )
