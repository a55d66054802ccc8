"""The currency of this package: who gave which item which class, and how much it weighs.

Faces of an overlay, matched objects, slides and plain tables all become :class:`Ratings`;
every statistic and every fusion method starts from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consensus.columns import class_order, factorise, first_where, negative_class
from consensus.errors import RatingsError

__all__ = ["NOT_RATED", "Ratings", "WeightUnit"]

NOT_RATED = -1
"""Code of an item that a rater has said nothing about. It is not ``background``."""

MAX_CELLS = 500_000_000
"""Items times raters that are held in memory (2 GB of codes)."""

WeightUnit = Literal["count", "um2"]


@dataclass(frozen=True, eq=False)
class Ratings:
    """Items x raters, with a weight, a cluster and perhaps a slide per item.

    Parameters
    ----------
    items, raters, classes
        Names. ``classes`` are all declared ones, used or not (their number enters AC1 and
        Brennan-Prediger), and hold the negative class where there is one.
    codes : shape (n_items, n_raters)
        Index into ``classes``; ``NOT_RATED`` where the rater said nothing.
    weight : shape (n_items,)
        How many items a row stands for (``count``, whole numbers), or its area (``um2``).
    cluster : shape (n_items,)
        Index into ``cluster_names``: what is resampled as a whole, as a patient.
    rank : shape (n_classes,)
        Place of a class in the order; NaN where it has none, as the negative class always.
        Only the order counts, not the size of the gaps.
    negative
        Index of the class that means "nothing there" (``background``, ``absent``), or None.
    weight_unit
        Areas are not counts: they get no small-sample term and no analytic standard error.
    cluster_unit
        What a cluster is: ``item``, ``slide``, ``patient`` or the name of a column.
    joint_negatives
        Whether some items are negative for everyone. None finds out from the ratings; the
        domain rule ``union`` and matched objects say False, since what nobody marked is
        not among their items.
    slide, slide_names
        As ``cluster``, for the median over slides; None where items have no slide.
    domain_um2
        Area that the ratings are about, where they are about areas.
    notes
        What a reader of the figures has to know about how these ratings came about.
    """

    items: tuple[str, ...]
    raters: tuple[str, ...]
    classes: tuple[str, ...]
    codes: NDArray[np.int32]
    weight: NDArray[np.float64]
    cluster: NDArray[np.int64]
    cluster_names: tuple[str, ...]
    rank: NDArray[np.float64]
    negative: int | None = None
    weight_unit: WeightUnit = "count"
    cluster_unit: str = "item"
    joint_negatives: bool | None = None
    slide: NDArray[np.int64] | None = None
    slide_names: tuple[str, ...] = ()
    domain_um2: float | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n_items, n_raters, n_classes = len(self.items), len(self.raters), len(self.classes)
        self._freeze("codes", np.int32, (n_items, n_raters))
        self._freeze("weight", np.float64, (n_items,))
        self._freeze("cluster", np.int64, (n_items,))
        self._freeze("rank", np.float64, (n_classes,))
        if self.slide is not None:
            self._freeze("slide", np.int64, (n_items,))
        self._check_names()
        self._check_codes()
        self._check_weight()
        if self.negative is not None and not 0 <= self.negative < n_classes:
            raise RatingsError(f"negative class {self.negative} is not one of {n_classes} classes")
        if self.negative is not None and not np.isnan(self.rank[self.negative]):
            raise RatingsError(
                f"class {self.classes[self.negative]!r} means nothing was found and has no place in "
                "an order; give it no rank"
            )
        ranked = self.rank[~np.isnan(self.rank)]
        if len(np.unique(ranked)) < len(ranked):
            raise RatingsError("two classes have the same rank; give each ordered class its own")
        if self.joint_negatives is None:
            object.__setattr__(self, "joint_negatives", self._finds_joint_negatives())

    @classmethod
    def from_table(
        cls,
        item: Sequence[Any] | NDArray[Any],
        rater: Sequence[Any] | NDArray[Any],
        label: Sequence[Any] | NDArray[Any],
        *,
        classes: Sequence[Any] | None = None,
        weight: Sequence[float] | NDArray[Any] | None = None,
        cluster: Sequence[Any] | NDArray[Any] | None = None,
        weight_unit: WeightUnit = "um2",
        cluster_unit: str = "cluster",
        notes: tuple[str, ...] = (),
    ) -> Ratings:
        """Ratings from a long table: equally long columns, a row per rating.

        Parameters
        ----------
        item, rater, label
            A missing label (None, empty, NaN) means not rated.
        classes
            All classes, in their order. Without it numbers are ordered by value, and text
            has no order.
        weight
            Weight of the row's item, the same in all its rows; absent: every item counts 1.
        cluster
            What the row's item belongs to, the same in all its rows; absent: itself.
        weight_unit
            What a given ``weight`` is; ``count`` where it says how often an item occurred.

        Raises
        ------
        RatingsError
            Columns of different lengths, a label that ``classes`` lacks, an item that a
            rater gave two labels, or an item with two weights or clusters.
        """
        columns = {"item": item, "rater": rater, "label": label, "weight": weight}
        columns["cluster"] = cluster
        lengths = {name: len(values) for name, values in columns.items() if values is not None}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise RatingsError(f"columns differ in length ({told}); give one value a row in each")
        if not lengths["item"]:
            raise RatingsError("there are no ratings; give at least one row")
        item_of, items = _named(item, "item")
        rater_of, raters = _named(rater, "rater")
        label_of, labels = factorise(label)
        class_names, rank, class_of_label = class_order(labels, classes)
        if not class_names:
            raise RatingsError("no row has a label; give at least one rating")
        given = label_of >= 0
        row_codes = np.full(len(label_of), NOT_RATED, dtype=np.int32)
        row_codes[given] = class_of_label[label_of[given]]
        item_weight = np.ones(len(items))
        if weight is not None:
            item_weight = _per_item(_numbers(weight), item_of, items, "weight")
        item_cluster, cluster_names = np.arange(len(items)), items
        if cluster is not None:
            cluster_of, cluster_names = _named(cluster, "cluster")
            item_cluster = _per_item(cluster_of, item_of, items, "cluster")
        return cls(
            items=items,
            raters=raters,
            classes=class_names,
            codes=_spread(row_codes, item_of, rater_of, items, raters, class_names),
            weight=item_weight,
            cluster=item_cluster,
            cluster_names=cluster_names,
            rank=rank,
            negative=negative_class(class_names),
            weight_unit="count" if weight is None else weight_unit,
            cluster_unit="item" if cluster is None else cluster_unit,
            notes=notes,
        )

    def _freeze(self, name: str, dtype: type, shape: tuple[int, ...]) -> None:
        array: NDArray[Any] = np.ascontiguousarray(getattr(self, name), dtype=dtype).view()
        if array.shape != shape:
            raise RatingsError(f"ratings need {name} of shape {shape}, got {array.shape}")
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def _check_names(self) -> None:
        for kind in ("items", "raters", "classes"):
            names = getattr(self, kind)
            if len(set(names)) < len(names):
                twice = Counter(names).most_common(1)[0][0]
                raise RatingsError(f"{kind} hold {twice!r} twice; names must differ", name=twice)
        if not self.classes:
            raise RatingsError("ratings need at least one class; declare the classes")

    def _check_codes(self) -> None:
        indices = (
            ("codes", NOT_RATED, len(self.classes)),
            ("cluster", 0, len(self.cluster_names)),
            ("slide", 0, len(self.slide_names)),
        )
        for name, lowest, stop in indices:
            array: NDArray[Any] | None = getattr(self, name)
            if array is not None and array.size and not lowest <= array.min() <= array.max() < stop:
                raise RatingsError(
                    f"{name} run from {array.min()} to {array.max()}, but only {lowest} to "
                    f"{stop - 1} have a name"
                )

    def _check_weight(self) -> None:
        bad = ~np.isfinite(self.weight) | (self.weight < 0)
        if self.weight_unit == "count":
            bad |= self.weight != np.round(self.weight)
        elif self.weight_unit != "um2":
            raise RatingsError(f"weight_unit is {self.weight_unit!r}; use 'count' or 'um2'")
        row = first_where(bad)
        if row is not None:
            wanted = "a whole number" if self.weight_unit == "count" else "a number"
            raise RatingsError(
                f"item {self.items[row]!r} has weight {self.weight[row]:g}; give {wanted}, not negative",
                item=self.items[row],
            )

    def _finds_joint_negatives(self) -> bool:
        if self.negative is None:
            return True
        rated = self.codes != NOT_RATED
        all_negative = ((self.codes == self.negative) | ~rated).all(axis=1)
        return bool((all_negative & (rated.sum(axis=1) >= 2) & (self.weight > 0)).any())


def _named(
    values: Sequence[Any] | NDArray[Any], column: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes and names of a column in which nothing may be missing."""
    codes, names = factorise(values)
    row = first_where(codes < 0)
    if row is not None:
        raise RatingsError(f"row {row + 1} has no {column}; name one", row=row + 1)
    return codes, names


def _numbers(values: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RatingsError(f"a weight is no number ({error}); give a number per row") from error


def _per_item(
    values: NDArray[Any], item_of: NDArray[np.int64], items: tuple[str, ...], column: str
) -> NDArray[Any]:
    """The one value that all rows of an item share."""
    of_item = np.zeros(len(items), dtype=values.dtype)
    of_item[item_of] = values
    row = first_where((of_item[item_of] != values) & (values == values))  # a NaN is told as itself
    if row is not None:
        name = items[item_of[row]]
        raise RatingsError(f"item {name!r} has two different {column}s; give it one", item=name)
    return of_item


def _spread(
    row_codes: NDArray[np.int32],
    item_of: NDArray[np.int64],
    rater_of: NDArray[np.int64],
    items: tuple[str, ...],
    raters: tuple[str, ...],
    classes: tuple[str, ...],
) -> NDArray[np.int32]:
    """Rows of a long table as a matrix of items by raters."""
    if len(items) * len(raters) > MAX_CELLS:
        raise RatingsError(
            f"{len(items):,} items x {len(raters):,} raters are more than the {MAX_CELLS:,} cells "
            "that fit; split the table"
        )
    codes = np.full((len(items), len(raters)), NOT_RATED, dtype=np.int32)
    given = row_codes != NOT_RATED
    item_of, rater_of, row_codes = item_of[given], rater_of[given], row_codes[given]
    codes[item_of, rater_of] = row_codes
    row = first_where(codes[item_of, rater_of] != row_codes)
    if row is not None:
        item, rater = items[item_of[row]], raters[rater_of[row]]
        kept = classes[codes[item_of[row], rater_of[row]]]
        raise RatingsError(
            f"rater {rater!r} gave item {item!r} two labels, {classes[row_codes[row]]!r} and "
            f"{kept!r}; keep one",
            item=item,
            rater=rater,
        )
    return codes
