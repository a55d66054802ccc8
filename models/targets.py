"""What models learn from: for each bag or tile what the consensus and each rater said of it.

Methods see nothing else. What is open bears no class and, unless it is asked for, no weight: it is
never a negative.

Shapes: n items, K classes, R raters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

__all__ = ["NO_SITE", "OPEN", "Targets"]

OPEN = -1
"""A class nobody may take for one: no label yet, or not rated by this rater."""

NO_SITE = -1

_SUM_TOLERANCE = 1e-4
_NAMES = ("classes", "ordered", "raters", "names", "groups", "sites", "decided")


@dataclass(frozen=True, eq=False, kw_only=True)
class Targets:
    """The targets of n bags or tiles.

    Attributes
    ----------
    posterior : shape (n, K), float32
        Of the consensus; rows sum to 1, or are 0 where nothing is known.
    hard : shape (n,), int64
        The consensus class, or -1 where it is open.
    votes : shape (n, R), int64
        What each rater said, or -1 where a rater has not rated.
    weight : shape (n,), float32
        How much an item counts; 0 takes no part in training or in figures.
    group : shape (n,), int64
        The patient; a slide without one is a group of its own.
    site : shape (n,), int64
        Or -1 where none is known.
    part : shape (n,), str
        Of the release's split.
    classes, raters
        What the columns of ``posterior`` and ``votes`` stand for.
    ordered
        Whether the classes are grades, the lowest first.
    decided : shape (n,), bool
        Whether an adjudicator gave the class: it stands whatever raters said. None where nobody did.
    names
        Of the items; empty where they have none.
    groups, sites
        What the codes in ``group`` and ``site`` stand for; empty where they are bare numbers.
    """

    posterior: NDArray[np.float32]
    hard: NDArray[np.int64]
    votes: NDArray[np.int64]
    weight: NDArray[np.float32]
    group: NDArray[np.int64]
    site: NDArray[np.int64]
    part: NDArray[np.str_]
    classes: tuple[str, ...]
    ordered: bool
    raters: tuple[str, ...]
    decided: NDArray[np.bool_] | None = None
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, n_classes, n_raters = len(self.hard), len(self.classes), len(self.raters)
        shapes = {
            "posterior": (n, n_classes),
            "votes": (n, n_raters),
            **dict.fromkeys(("hard", "weight", "group", "site", "part"), (n,)),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(
                    f"targets of {n} items, {n_classes} classes and {n_raters} raters have a "
                    f"{name} of shape {found}; give {shape}"
                )
        if self.decided is not None and self.decided.shape != (n,):
            raise InputError(f"decided is of shape {self.decided.shape} for {n} items; give ({n},)")
        if self.names and len(self.names) != n:
            raise InputError(f"{len(self.names)} names for {n} items; give each its own, or none")
        for name in ("hard", "votes"):
            codes = getattr(self, name)
            if codes.size and not OPEN <= codes.min() <= codes.max() < n_classes:
                raise InputError(f"{name} holds a class outside -1 to {n_classes - 1}")
        total = self.posterior.sum(axis=1)
        fit = (np.abs(total - 1) <= _SUM_TOLERANCE) | (total == 0)
        if not (fit.all() and (self.posterior >= 0).all()):
            raise InputError(
                f"the posterior of item {self.name_of(int(np.argmin(fit)))} is no distribution; "
                "its shares must be 0 or more and sum to 1, or all be 0"
            )
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise InputError("a weight is negative or no number; give 0 or more")

    def __len__(self) -> int:
        return len(self.hard)

    def name_of(self, index: int) -> str:
        """What an item is called in a message: its name, else its number."""
        return repr(self.names[index]) if self.names else str(index)

    def group_name(self, code: int) -> str:
        """What a patient is called in a message."""
        return self.groups[code] if self.groups else str(code)

    def site_name(self, code: int) -> str:
        """What a site is called in a message."""
        if code == NO_SITE:
            return "no site"
        return self.sites[code] if self.sites else str(code)

    def subset(self, indices: NDArray[np.int64]) -> Targets:
        """The targets of some items, in the order of the indices."""
        taken = {
            f.name: getattr(self, f.name)[indices] for f in fields(self) if f.name not in _NAMES
        }
        names = tuple(self.names[i] for i in indices.tolist()) if self.names else ()
        decided = None if self.decided is None else self.decided[indices]
        return replace(self, **taken, names=names, decided=decided)

    def indices_of(self, part: str) -> NDArray[np.int64]:
        """The items of a part of the split."""
        return np.flatnonzero(self.part == part)
