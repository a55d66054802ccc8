"""One label for a slide out of its regions: the worst class that it holds, or the largest.

Shapes: F faces, K classes, R raters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.consensus_items import EXCLUDED, INDETERMINATE, ResolvedItem
from models.labels.items import item_labels
from models.targets import OPEN

__all__ = ["SlideLabel", "SlideLabelRule", "SlideLabeller"]

Rule = Literal["largest", "worst"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SlideLabelRule:
    """How a slide gets its label.

    Attributes
    ----------
    rule
        ``worst``: the highest of the protocol's ordered classes that, with those above it, covers
        ``least_um2`` or more. ``largest``: the class that covers most. In both what is no finding
        (background) is the label only where there is no other; ``worst`` does not look at classes
        without an order.
    least_um2
        See there; of ``largest`` it is 0.

    Raises
    ------
    InputError
        Another rule, or an area that is none.
    """

    rule: Rule
    least_um2: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise InputError(
                f"a slide's label can be {' or '.join(get_args(Rule))}, not {self.rule!r}"
            )
        if not 0 <= self.least_um2 < np.inf:
            raise InputError(f"an area of {self.least_um2:g} um2 can't be; give 0 or more")
        if self.rule == "largest" and self.least_um2:
            raise InputError("the largest class needs no least area; give one with `worst` alone")

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a model's file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> SlideLabelRule:
        """Out of a model's file.

        Raises
        ------
        InputError
            It is no rule.
        """
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            raise InputError(f"slide_label is no rule: {error}") from error


@dataclass(frozen=True, eq=False)
class SlideLabel:
    """The label of one slide.

    Attributes
    ----------
    posterior : shape (K,)
        Sums to 1, or is 0 where nothing was rated.
    hard
        The class, or -1 where what is still open could change it.
    votes : shape (R,)
        What the rule makes of each rater's own regions, or -1.
    decided
        Whether the label would be another one, or none, without the adjudicator's answers.
    """

    posterior: Floats
    hard: int
    votes: NDArray[np.int64]
    decided: bool


class SlideLabeller:
    """Labels the slides of a release.

    Parameters
    ----------
    classes, raters
        The release's.
    ranks : length K
        Order of the classes; NaN of those without.
    negative
        The class that is no finding, where there is one.

    Raises
    ------
    InputError
        ``worst`` where no two classes are ordered.
    """

    def __init__(
        self,
        rule: SlideLabelRule,
        classes: Sequence[str],
        raters: Sequence[str],
        ranks: Sequence[float],
        negative: str | None,
    ) -> None:
        self._rule, self._classes, self._raters = rule, tuple(classes), tuple(raters)
        findings = [number for number, name in enumerate(classes) if name != negative]
        if rule.rule == "worst":
            ordered = [number for number in findings if not math.isnan(ranks[number])]
            findings = sorted(ordered, key=lambda number: ranks[number])
            if len(findings) < 2:
                raise InputError(
                    "no two classes of the release are ordered, so none is the worst; take "
                    "--slide-label largest, or give the classes an order in the protocol"
                )
        self._findings = np.array(findings, dtype=np.int64)  # the mildest first
        self._negative = OPEN if negative not in classes else list(classes).index(str(negative))

    def label(self, items: Sequence[ResolvedItem]) -> SlideLabel:
        """The label of a slide by its regions.

        A posterior of faces does not say how faces hang together. For ``worst`` they are taken to do
        so entirely, as where a reader's threshold is too low everywhere: with a_f the area of face f,
        P_f(c) the probability that it is of class c or a worse one, and x the least area, the slide
        is of class c or a worse one with the probability

            S(c) = max { u : the faces with P_f(c) >= u cover x or more }

        (0 where there is no such u), and of class c with S(c) less that of the next worse class.
        Were faces independent, every large slide would be certain. For ``largest`` it is the share of
        c in the expected area of all findings: a mixed slide is soft although nobody disagrees.

        Parameters
        ----------
        items
            What was excluded or called indeterminate counts nowhere.
        """
        faces = [
            item
            for item in items
            if item.geometry is not None and item.state not in (EXCLUDED, INDETERMINATE)
        ]
        labels = item_labels(faces, self._classes, self._raters)
        area = np.array([face.weight for face in faces], dtype=np.float64)
        areas = area @ labels.hard_one_hot  # [K]
        hard = self._by_rule(areas)
        still_open = labels.hard == OPEN
        possible = self._possible(area[still_open], labels.posterior[still_open])
        if any(self._by_rule(areas + more) != hard for more in np.diag(possible)):
            hard = OPEN
        of_raters = (area @ labels.votes_one_hot).reshape(len(self._raters), len(self._classes))
        undecided = (area * ~labels.decided) @ labels.hard_one_hot
        return SlideLabel(
            posterior=self._posterior(area, labels.posterior),
            hard=hard,
            votes=np.array([self._by_rule(own) for own in of_raters], dtype=np.int64),
            decided=hard != OPEN and self._by_rule(undecided) != hard,
        )

    def _by_rule(self, areas: Floats) -> int:
        """The class by the areas (K,) of all; -1 where nothing was rated."""
        held = areas[self._findings]
        if self._rule.rule == "worst":
            held = np.cumsum(held[::-1])[::-1]
        enough = np.flatnonzero((held > 0) & (held >= self._rule.least_um2))
        if not len(enough):
            return self._negative if areas.any() else OPEN
        best = enough[-1] if self._rule.rule == "worst" else held.argmax()
        return int(self._findings[best])

    def _possible(self, area: Floats, posterior: Floats) -> Floats:
        """The open area that could be of each class (K,), or of ``worst`` of a worse one as well."""
        chance = posterior.copy()
        if self._rule.rule == "worst":
            chance[:, self._findings] = _or_worse(posterior[:, self._findings])
        possible: Floats = area @ (chance > 0)
        return possible

    def _posterior(self, area: Floats, posterior: Floats) -> Floats:
        found = np.zeros(len(self._classes))
        if not area.any():
            return found
        of_findings = posterior[:, self._findings]
        if self._rule.rule == "largest":
            found[self._findings] = area @ of_findings
        else:
            reached = [self._level(area, one) for one in _or_worse(of_findings).T]
            found[self._findings] = -np.diff([*reached, 0.0])
            if self._negative != OPEN:
                found[self._negative] = 1 - reached[0]
        if not found.any() and self._negative != OPEN:
            found[self._negative] = 1.0
        total = found.sum()
        return found / total if total > 0 else found

    def _level(self, area: Floats, chance: Floats) -> float:
        """The largest probability that faces of the least area together reach; 0 where none does."""
        order = np.argsort(-chance, kind="stable")
        together = np.cumsum(area[order])
        enough = np.flatnonzero((together >= self._rule.least_um2) & (area[order] > 0))
        return float(np.clip(chance[order][enough[0]], 0.0, 1.0)) if len(enough) else 0.0


def _or_worse(posterior: Floats) -> Floats:
    """Of each face (F, k) the probability of a class or of any that follows."""
    together: Floats = np.cumsum(posterior[:, ::-1], axis=1)[:, ::-1]
    return together
