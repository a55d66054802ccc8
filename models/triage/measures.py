"""How unsure a model is of a slide or a region: the larger the value, the less sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from annotation.errors import InputError
from models.prediction.regions import PredictedRegion

__all__ = ["MEASURES", "Unit", "measure_of_region", "measure_of_slide", "measures_beside"]

Unit = Literal["slides", "regions"]

_OF_SLIDES: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "mutual-information": lambda result: result["mutual_information"],
    "entropy": lambda result: result["entropy"],
    "variance": lambda result: sum(result["variance"].values()),
    "max-probability": lambda result: 1 - result["max_probability"],
    "max-softmax": lambda result: 1 - result["single_pass"]["max_probability"],
    "plain-entropy": lambda result: result["single_pass"]["entropy"],
}
"""Of a slide's result; the last two are those of a single pass, without dropout."""

_OF_REGIONS: Mapping[str, Callable[[PredictedRegion], float]] = {
    "mutual-information": lambda region: region.mutual_information,
    "entropy": lambda region: region.entropy,
    "max-probability": lambda region: 1 - region.probability,
}

MEASURES = tuple(_OF_SLIDES)

_PLAIN: Mapping[Unit, tuple[str, ...]] = {
    "slides": ("max-softmax", "plain-entropy"),
    "regions": ("max-probability", "entropy"),
}
"""What any model can say without passes; a region file holds no single pass."""


def measures_beside(measure: str, unit: Unit) -> tuple[str, ...]:
    """The measure that decides, and the plain ones that it is held against.

    Raises
    ------
    InputError
        Regions have no such measure.
    """
    known = _OF_SLIDES if unit == "slides" else _OF_REGIONS
    if measure not in known:
        raise InputError(
            f"{unit} have no measure {measure!r}; take one of {', '.join(known)} with --measure",
            measure=measure,
        )
    return (measure, *(name for name in _PLAIN[unit] if name != measure))


def measure_of_slide(name: str, result: Mapping[str, Any], slide: str) -> float:
    """A slide's value.

    Raises
    ------
    InputError
        Its result holds nothing of the kind.
    """
    try:
        return float(_OF_SLIDES[name](result))
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"the prediction of slide {slide!r} holds no {name}; take another --measure, or run "
            "`pathquorum predict` again",
            slide=slide,
        ) from None


def measure_of_region(name: str, region: PredictedRegion) -> float:
    """A region's value."""
    return float(_OF_REGIONS[name](region))
