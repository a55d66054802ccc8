"""What is watched of each slide: of its image, of what the model says, and of what people did with it.

Numbers and categories come from the prediction's row in the store; what people did comes with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.drift.people import PeopleOfSlides
from models.drift.selection import ComparedSlide

__all__ = ["GROUPS", "Categories", "Group", "Numbers", "measures_of"]

Group = Literal["input", "output", "people", "readers"]

GROUPS: Final[Mapping[Group, str]] = {
    "input": "The slides",
    "output": "What the model says",
    "people": "What people did with it",
    "readers": "How the readers agree",
}


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number of each slide, (n_slides,); NaN where it has none.

    ``reason`` says why none has any. A ``rate`` is how often something happens: its mean tells more
    than its median.
    """

    key: str
    title: str
    group: Group
    values: NDArray[np.float64]
    reason: str | None = None
    rate: bool = False

    def of_patients(self, patient: NDArray[np.int64], n_patients: int) -> NDArray[np.float64]:
        """The mean of each patient's slides, (P,)."""
        has = ~np.isnan(self.values)
        count = np.bincount(patient[has], minlength=n_patients)
        total = np.bincount(patient[has], weights=self.values[has], minlength=n_patients)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Categories:
    """Which of several each slide is; None where that is not known."""

    key: str
    title: str
    group: Group
    values: Sequence[str | None]

    @property
    def names(self) -> tuple[str, ...]:
        """The categories, (C,)."""
        return tuple(sorted({one for one in self.values if one is not None}))

    def of_patients(self, patient: NDArray[np.int64], n_patients: int) -> NDArray[np.float64]:
        """The share of each category in a patient's slides, (P, C); a row of NaN without any."""
        number = {name: code for code, name in enumerate(self.names)}
        counts = np.zeros((n_patients, len(number)))
        for of, name in zip(patient.tolist(), self.values, strict=True):
            if name is not None:
                counts[of, number[name]] += 1
        total = counts.sum(axis=1, keepdims=True)
        return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


_INPUT: Final = (
    ("brightness", "Brightness"),
    ("saturation", "Saturation"),
    ("focus", "Focus"),
    ("mpp", "Microns per pixel"),
    ("tissue_share", "Tissue share"),
)
_STAINS: Final = (("hematoxylin", "Haematoxylin"), ("eosin", "Eosin"))
_CHANNELS: Final = ("red", "green", "blue")
_OUTPUT: Final = (
    ("max_probability", "Confidence"),
    ("entropy", "Entropy, nats"),
    ("mutual_information", "Mutual information, nats"),
)
_OF_UNCERTAINTY: Final = ("entropy", "mutual_information")


def measures_of(
    slides: Sequence[ComparedSlide], people: PeopleOfSlides
) -> list[Numbers | Categories]:
    """Everything that is watched of each slide but its embeddings, in the order of the report."""
    return [*_of_input(slides), *_of_output(slides), *_of_people(people)]


def _of_input(slides: Sequence[ComparedSlide]) -> list[Numbers | Categories]:
    found: list[Numbers | Categories] = [
        _numbers(slides, key, title, "input", "input", key) for key, title in _INPUT
    ]
    found.append(Categories("scanner", "Scanner", "input", [_scanner(one) for one in slides]))
    for stain, title in _STAINS:
        key = f"strength_{stain}"
        found.append(_numbers(slides, key, f"{title}: strength", "input", "input", key))
        found += [
            _numbers(
                slides, f"stain_{stain}:{channel}", f"{title}: {channel}", "input",
                "input", f"stain_{stain}", place,
            )
            for place, channel in enumerate(_CHANNELS)
        ]  # fmt: skip
    found.append(
        Numbers(
            "no_stain", "Stains can't be told apart", "input", _without_stain(slides), rate=True
        )
    )
    return found


def _of_output(slides: Sequence[ComparedSlide]) -> list[Numbers | Categories]:
    found: list[Numbers | Categories] = []
    ways = sorted({str(one.result.get("uncertainty")) for one in slides})
    for key, title in _OUTPUT:
        made = _numbers(slides, key, title, "output", key)
        if key in _OF_UNCERTAINTY and len(ways) > 1:
            made = replace(made, reason=f"computed in different ways: {' and '.join(ways)}")
        found.append(made)
    classes = dict.fromkeys(name for one in slides for name in one.result.get("classes", ()))
    found += [
        _numbers(slides, f"share:{name}", f"Share of {name}", "output", "probability", name)
        for name in classes
    ]
    said = [_at(one.result, ("predicted",)) for one in slides]
    found.append(Categories("predicted", "Predicted class", "output", said))
    return found


def _of_people(people: PeopleOfSlides) -> list[Numbers | Categories]:
    return [
        Numbers(
            "escalated",
            "Escalated to a person",
            "people",
            people.escalated,
            people.not_escalated,
            True,
        ),
        Numbers("overturned", "Decisions overturned", "people", people.overturned, rate=True),
        Numbers(
            "ai_assisted",
            "Predictions in sight",
            "people",
            people.ai_assisted,
            rate=True,
        ),
    ]


def _numbers(
    slides: Sequence[ComparedSlide], key: str, title: str, group: Group, *path: str | int
) -> Numbers:
    """What stands at a place of each slide's result."""
    found = [_at(one.result, path) for one in slides]
    values = np.array([np.nan if value is None else float(value) for value in found])
    return Numbers(key, title, group, np.where(np.isfinite(values), values, np.nan))


def _without_stain(slides: Sequence[ComparedSlide]) -> NDArray[np.float64]:
    """1 where a slide's stains could not be estimated, 0 where they were; NaN where nobody tried."""
    told = [_at(one.result, ("input",)) or {} for one in slides]
    return np.array(
        [
            np.nan if "stain_reason" not in one else float(one["stain_reason"] is not None)
            for one in told
        ]
    )


def _at(result: Any, path: Sequence[str | int]) -> Any:
    """What stands at a place of nested objects and lists; None where there is none."""
    for step in path:
        if isinstance(step, str):
            result = result.get(step) if isinstance(result, Mapping) else None
        else:
            result = result[step] if isinstance(result, list) and step < len(result) else None
    return result


def _scanner(one: ComparedSlide) -> str | None:
    """What the study says of the scanner; else what the file does."""
    named = one.slide.scanner or _at(one.result, ("input", "vendor")) or one.slide.vendor
    return None if named is None else str(named)
