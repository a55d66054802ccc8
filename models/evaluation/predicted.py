"""What a model says of the items of a part, whatever kind of model it is.

Shapes: n items, K classes, m kinds of pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.evaluation.calibration import tempered
from models.evaluation.doubts import Doubt
from models.evaluation.figures import Scored, scored
from models.evaluation.mask_figures import MaskDistances
from models.model_file import ModelDescription, TrainedModel
from models.targets import Targets

__all__ = ["Called", "Judgeable", "Predicted"]


@dataclass(frozen=True, eq=False)
class Called:
    """Pixels by what consensus, raters and model call them: exact, where probabilities are a sample.

    Attributes
    ----------
    targets
        Of m kinds of pixels, whose weight is their area in um2.
    said : shape (m, K)
        1 for the model's class.
    pixels : shape (m,)
        How many there are.
    distances
        Between the outlines; None where they were not asked for.
    """

    targets: Targets
    said: NDArray[np.float64]
    pixels: NDArray[np.int64]
    distances: MaskDistances | None


@dataclass(frozen=True, eq=False)
class Predicted:
    """A model's probabilities of items.

    Attributes
    ----------
    probabilities : shape (n, K)
        At temperature 1.
    targets
        Of the same items.
    called
        Of masks, whose ``probabilities`` are those of a sample of their pixels.
    details
        What the kind of items needs to tell of doubted labels.
    notes
        What a reader of the figures must know.
    """

    probabilities: NDArray[np.float64]
    targets: Targets
    called: Called | None = None
    details: Any = None
    notes: tuple[str, ...] = ()

    def at(self, temperature: float) -> Scored:
        """Probabilities at a temperature beside the consensus."""
        return scored(tempered(self.probabilities, temperature), self.targets)

    def calls(self, reference: NDArray[np.int64] | None = None) -> Scored:
        """What is called what, beside the consensus or another reference (of `rated`)."""
        if self.called is None:
            return scored(self.probabilities, self.targets, reference)
        return scored(self.called.said, self.called.targets, reference, self.called.pixels)

    @property
    def rated(self) -> Targets:
        """What raters said of all that the model has called anything."""
        return self.targets if self.called is None else self.called.targets


class Judgeable(Protocol):
    """The items of a release that a model can be judged on.

    Attributes
    ----------
    kind
        What an item is called: ``slide``, ``tile``, ``object`` or ``pixel``.
    slides
        Those that have items.
    skipped
        Slides that were left out, with the reason.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102 - the class says it
    @property
    def slides(self) -> Collection[str]: ...  # noqa: D102
    @property
    def skipped(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102

    def require_fit(self, described: ModelDescription, model: str) -> None:
        """Refuse a model that was made for other classes, or for something else to go in.

        Raises
        ------
        ModelFileError
            Saying which.
        """
        ...

    def predict(
        self, model: TrainedModel, slides: Collection[str], *, details: bool = False
    ) -> Predicted:
        """What a model says of the items of some slides.

        Parameters
        ----------
        details
            Also what only the model that is judged needs: outlines, and regions that it doubts.
        """
        ...

    def doubts(self, found: Predicted, temperature: float, part: str) -> list[Doubt]:
        """Labels of the part worth another look; see `label_issues`."""
        ...
