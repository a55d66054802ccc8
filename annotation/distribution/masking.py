"""Masked names of slides, and an order of slides that is each annotator's own.

Both follow from the store's salt, a seed and who reads what, so a seed gives the same names and the
same order again, and nobody without the store can tell a slide by its masked name.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["SlideMask"]

# No vowels, so that no words come out, and nothing that is taken for something else.
_LETTERS: Final = "23456789BCDFGHJKMNPQRTVWXZ"
_LENGTH: Final = 6


@dataclass(frozen=True)
class SlideMask:
    """Masks and shuffles the slides of one annotator under one protocol version.

    Parameters
    ----------
    salt
        The store's.
    seed
        Chosen by whoever hands out.
    annotator, protocol, replicate
        Whose reading of what, and which one.
    """

    salt: str
    seed: int
    annotator: int
    protocol: int
    replicate: int

    def shuffled(self, slides: Sequence[int]) -> list[int]:
        """The ids of the slides in this annotator's order, which doesn't depend on theirs."""
        return sorted(slides, key=lambda slide: self._digest("order", slide))

    def name(self, slide: int, taken: Collection[str]) -> str:
        """The slide's masked name, none of those that are taken: ``K7R-X2M``."""
        attempt = 0
        while True:
            digest = int.from_bytes(self._digest("name", slide, attempt), "big")
            letters = []
            for _ in range(_LENGTH):
                digest, place = divmod(digest, len(_LETTERS))
                letters.append(_LETTERS[place])
            name = "".join(letters[:3]) + "-" + "".join(letters[3:])
            if name not in taken:
                return name
            attempt += 1

    def _digest(self, what: str, *numbers: int) -> bytes:
        parts = (self.seed, self.annotator, self.protocol, self.replicate, *numbers)
        message = "/".join([what, *map(str, parts)])
        return hmac.digest(self.salt.encode(), message.encode(), hashlib.sha256)
