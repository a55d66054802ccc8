"""Why a figure is undefined, in the words of the report."""

from __future__ import annotations

from consensus.statistics.totals import Totals

__all__ = ["Reasons"]

NO_CO_RATED = "no co-rated items"
NO_JOINT_NEGATIVES = "no joint negatives"
NOT_PLACED = "no items placed by both"
SINGLE_CLASS = "single class"
NOT_USED = "class not used"
NO_NEGATIVE = "no negative class"
NOTHING_FOUND = "nothing found by either"
REFERENCE_NEVER_SAYS = "the reference never says it"
REFERENCE_SAYS_NO_OTHER = "the reference says nothing else"
SAYS_NO_OTHER = "the rater says nothing else"


class Reasons:
    """Looks up the reason why a figure of these totals has no value.

    Parameters
    ----------
    totals
        One row, over all items.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._scheme = totals.scheme
        self._used = totals["named"][0] > 0
        self._co_rated = bool(totals["either"][0].sum() > 0)

    @property
    def _one_class(self) -> str:
        """A single class that raters placed could be told from nothing only by joint negatives."""
        return NO_JOINT_NEGATIVES if self._scheme.placed_only else SINGLE_CLASS

    def trivial(self) -> str | None:
        """Why even percent agreement means nothing, where it doesn't."""
        if not self._co_rated:
            return NO_CO_RATED
        if self._scheme.placed_only and self._used.sum() < 2:
            return NO_JOINT_NEGATIVES
        if self._totals["items_paired"][0] == 0:
            return NOT_PLACED
        return None

    def coefficient(self) -> str:
        """Why a chance-corrected coefficient has no value."""
        return self.trivial() or self._one_class

    def of_class(self, index: int, figure: str) -> str:
        """Why a figure of a class has no value."""
        if self._scheme.placed_only and index == self._scheme.negative:
            return NO_JOINT_NEGATIVES
        if self._scheme.placed_only and figure == "specificity":
            return NO_JOINT_NEGATIVES
        if figure == "prevalence":
            return "no ratings"
        if not self._co_rated:
            return NO_CO_RATED
        if self._totals["either"][0, index] == 0:
            return NOT_USED
        if figure in ("conditional_kappa", "sensitivity", "specificity"):
            return self._given_reference(index, figure)
        return self.coefficient()

    def _given_reference(self, index: int, figure: str) -> str:
        held = self._totals["hits"][0, 0] + self._totals["misses"][0, 0]
        if figure == "specificity":
            return REFERENCE_SAYS_NO_OTHER
        if held[index] == 0:
            return REFERENCE_NEVER_SAYS
        return self.trivial() or SAYS_NO_OTHER

    def denied(self, index: int, figure: str) -> bool:
        """Whether a figure of a class is meaningless, whatever its value."""
        if not self._scheme.placed_only:
            return False
        if figure in ("prevalence_index", "bias_index") and self.trivial():
            return True
        return figure == "specificity" or index == self._scheme.negative

    def pair(self, index: int, co_rated: float) -> str:
        """Why the kappa of a pair of raters, who co-rated so much, has no value."""
        if self._totals["first"][0, index].sum() > 0:
            return self._one_class
        if co_rated == 0:
            return NO_CO_RATED
        return NO_JOINT_NEGATIVES if self._used.sum() < 2 else NOT_PLACED

    def detection(self) -> str:
        """Why there is no F1."""
        if self._scheme.negative is None:
            return NO_NEGATIVE
        return NOTHING_FOUND if self._co_rated else NO_CO_RATED

    def pair_detection(self, co_rated: float) -> str:
        """Why a pair of raters has no F1."""
        return NOTHING_FOUND if co_rated > 0 else NO_CO_RATED
