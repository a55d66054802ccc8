"""How slides are predicted; what decides the result has a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from annotation.errors import InputError

__all__ = ["ENSEMBLE", "MC_DROPOUT", "NONE", "Method", "PredictionSettings", "slide_seed"]

Method = Literal["mc-dropout", "ensemble", "none"]
MC_DROPOUT, ENSEMBLE, NONE = get_args(Method)

_MOST_PASSES = 10_000
_MOST_AT_ONCE = 4096
_MOST_THREADS = 256
_MOST_UM2 = 1e9


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """How slides are predicted.

    Attributes
    ----------
    method
        Where uncertainty comes from: passes with dropout, several models, or nowhere.
    passes
        With dropout; the other methods have as many as there are models.
    seed
        Of what is dropped; each slide's own seed follows from it and the slide's fingerprint.
    batch
        Tiles that go through the encoder, or windows through a network of masks, at a time.
    threads
        How many read tiles. They change nothing of the result.
    overlap
        Part of a window that it shares with the next; for masks.
    min_region_um2
        Smaller areas are no regions.

    Raises
    ------
    InputError
        A value that can't be used; says which are.
    """

    method: Method = MC_DROPOUT
    passes: int = 50
    seed: int = 0
    batch: int = 16
    threads: int = 2
    overlap: float = 0.5
    min_region_um2: float = 2_500.0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(
                f"uncertainty {self.method!r} is unknown; take one of {', '.join(get_args(Method))}"
            )
        for name, least, most in (
            ("passes", 2, _MOST_PASSES),
            ("batch", 1, _MOST_AT_ONCE),
            ("threads", 1, _MOST_THREADS),
            ("overlap", 0.0, 0.95),
            ("min_region_um2", 0.0, _MOST_UM2),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{name} {value!r} can't be used; choose {least:g} to {most:g}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @property
    def sha256(self) -> str:
        """SHA-256 of the settings that decide the result, in hexadecimal."""
        decides = {name: value for name, value in self.to_dict().items() if name != "threads"}
        text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def slide_seed(seed: int, fingerprint: str) -> int:
    """The seed of a slide, of 63 bits: the same whatever is predicted before it, and by whom."""
    digest = hashlib.sha256(f"{seed}:{fingerprint}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
