"""How far a consensus depends on the method, and on each rater.

Every variant fuses the same items again: by another method, or by the base method with one rater
left out. What moved is told in weight: of each class, and of the items whose label is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError, PathquorumError
from consensus.fused import OPEN, Fused
from consensus.fusing.voting import VoteRule, agreement_votes, equal_votes
from consensus.fusion import FusionOptions, fuse
from consensus.ratings import Ratings
from consensus.statistics.patterns import sum_by

__all__ = ["BASES", "Sensitivity", "Variant", "sensitivity"]

BASES = ("majority", "dawid-skene", "staple")


@dataclass(frozen=True, eq=False)
class Variant:
    """A consensus of the same items, come by otherwise.

    Parameters
    ----------
    name
        What was done: a method, or ``without`` a rater.
    method, votes, left_out
        The method, of a majority what weighs its votes, and the rater that was left out.
    status
        ``ok``, or ``refused:`` and why; then there are no figures.
    items, weight : shape (n_classes,)
        Of each class.
    open_items, open_weight
        Of what stays open.
    changed_items, changed_weight
        Of the items whose label is not that of the base; open counts as a label.
    converged
        Of expectation-maximisation, else None.
    """

    name: str
    method: str
    votes: str | None = None
    left_out: str | None = None
    status: str = "ok"
    items: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    open_items: int = 0
    open_weight: float = 0.0
    changed_items: int = 0
    changed_weight: float = 0.0
    converged: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The base consensus and its variants; the base comes first."""

    ratings: Ratings
    base: str
    variants: tuple[Variant, ...]

    def to_dict(self) -> dict[str, object]:
        """The document, of plain numbers and text; weights in um2 for areas, else in items."""
        total = float(self.ratings.weight.sum())
        return {
            "base": self.base,
            "items": len(self.ratings.items),
            "weight": total,
            "weight_unit": self.ratings.weight_unit,
            "raters": list(self.ratings.raters),
            "classes": list(self.ratings.classes),
            "variants": [self._variant(variant, total) for variant in self.variants],
            "notes": list(self.ratings.notes),
        }

    def _variant(self, variant: Variant, total: float) -> dict[str, Any]:
        told = {
            "variant": variant.name,
            "method": variant.method,
            "votes": variant.votes,
            "left_out": variant.left_out,
            "status": variant.status,
        }
        base = self.variants[0]
        if variant.items is None or variant.weight is None or base.weight is None:
            return told
        moved = variant.weight - base.weight
        return {
            **told,
            "classes": {
                name: {
                    "items": int(variant.items[index]),
                    "weight": float(variant.weight[index]),
                    "moved": float(moved[index]),
                }
                for index, name in enumerate(self.ratings.classes)
            },
            "open": {"items": variant.open_items, "weight": variant.open_weight},
            "changed": {
                "items": variant.changed_items,
                "weight": variant.changed_weight,
                "share": variant.changed_weight / total if total else None,
            },
            "converged": variant.converged,
            "notes": list(variant.notes),
        }


def sensitivity(
    ratings: Ratings,
    *,
    base: str = "majority",
    quorum: float = 0.5,
    min_raters: int = 1,
    votes: Mapping[str, VoteRule] | None = None,
) -> Sensitivity:
    """Fuse by every method, and by the base method without each rater.

    Parameters
    ----------
    base
        ``majority``, ``dawid-skene`` or ``staple``: what the others are held against.
    quorum, min_raters
        As in :func:`consensus.fusion.fuse`; of all variants.
    votes
        What may weigh the votes of a majority, by name; None: equal and agreement.

    Raises
    ------
    InputError
        There is no such base.
    TooFewRatersError
        The base itself is refused. A variant that is refused is listed with the reason.
    """
    if base not in BASES:
        raise InputError(f"no method {base!r}; choose one of {', '.join(BASES)}")
    if votes is None:
        votes = {"equal": equal_votes, "agreement": agreement_votes}
    rule = _Rule(ratings, quorum, min_raters)
    equal = "equal" if base == "majority" else None
    kept = rule.fuse(ratings, base, None)
    variants = [rule.moved(Variant(base, base, equal), kept, kept)]
    for name, method, kind in _others(base, votes):
        vote = None if kind is None else votes[kind]
        variants.append(rule.tried(Variant(name, method, kind), ratings, vote, kept))
    for rater in sorted(ratings.raters):
        one = Variant(f"without {rater}", base, equal, left_out=rater)
        variants.append(rule.tried(one, _without(ratings, rater), None, kept))
    return Sensitivity(ratings, base, tuple(variants))


def _others(base: str, votes: Mapping[str, VoteRule]) -> Iterator[tuple[str, str, str | None]]:
    """Name, method and votes of each method that is not the base."""
    for method in BASES:
        if method == "majority":
            for kind in votes:
                if kind != "equal":
                    yield f"majority by {kind}", method, kind
                elif base != "majority":
                    yield method, method, kind
        elif method != base:
            yield method, method, None


def _without(ratings: Ratings, rater: str) -> Ratings:
    column = ratings.raters.index(rater)
    names = ratings.raters[:column] + ratings.raters[column + 1 :]
    return replace(ratings, raters=names, codes=np.delete(ratings.codes, column, axis=1))


@dataclass(frozen=True, eq=False)
class _Rule:
    """What holds for every variant."""

    ratings: Ratings
    quorum: float
    min_raters: int

    def fuse(self, ratings: Ratings, method: str, votes: VoteRule | None) -> Fused:
        options = FusionOptions(votes=votes)
        return fuse(
            ratings, method, quorum=self.quorum, min_raters=self.min_raters, options=options
        )

    def tried(
        self, variant: Variant, ratings: Ratings, votes: VoteRule | None, base: Fused
    ) -> Variant:
        """The variant with its figures, or with the reason why it has none."""
        try:
            fused = self.fuse(ratings, variant.method, votes)
        except PathquorumError as error:
            return replace(variant, status=f"refused: {error}")
        return self.moved(variant, fused, base)

    def moved(self, variant: Variant, fused: Fused, base: Fused) -> Variant:
        """The variant with its figures."""
        weight, n_classes = self.ratings.weight, len(self.ratings.classes)
        place = np.where(fused.labels == OPEN, n_classes, fused.labels)
        items = np.bincount(place, minlength=n_classes + 1)
        weights = sum_by(place, weight, n_classes + 1)
        changed = fused.labels != base.labels
        return replace(
            variant,
            items=items[:n_classes],
            weight=weights[:n_classes],
            open_items=int(items[n_classes]),
            open_weight=float(weights[n_classes]),
            changed_items=int(changed.sum()),
            changed_weight=float(weight[changed].sum()),
            converged=fused.converged,
            notes=fused.notes,
        )
