"""What slides and regions have in common for a triage: positives, units, and candidates.

Shapes: m units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.tables import Slide
from models.triage.threshold import Labelled

__all__ = ["Candidate", "Judged"]


@dataclass(frozen=True, eq=False)
class Judged:
    """The calibration part: what a threshold is fitted on, and how the model errs on its units.

    Attributes
    ----------
    measures : each of shape (m,)
        The measure that decides, first, and the plain ones.
    wrong : shape (m,)
        Whether the model's class is not the label.
    """

    labelled: Labelled
    measures: Mapping[str, NDArray[np.float64]]
    wrong: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A slide or region that is escalated or left to the model.

    Attributes
    ----------
    geometry
        Level-0 pixels; None for a whole slide.
    weight
        um2 of a region, else 1.
    predicted
        The model's class; ``called`` says whether it is a positive one.
    """

    slide: Slide
    geometry: shapely.Geometry | None
    weight: float
    predicted: str
    called: bool
    uncertainty: float
