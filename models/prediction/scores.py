"""What passes say of a whole slide, and of its tiles.

Shapes: T passes, N tiles, K classes, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.calibration import tempered
from models.prediction.uncertainty import Spread, entropy_of, passes_interval, spread_of

__all__ = ["FeaturesSeen", "SinglePass", "SlideScores", "TileScores", "tempered_classes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SinglePass:
    """What one pass without dropout says, of an ensemble the first model: the plain measures."""

    max_probability: float
    entropy: float

    @classmethod
    def of(cls, probabilities: Floats) -> SinglePass:
        """Means over distributions (N, K)."""
        return cls(
            float(probabilities.max(axis=-1).mean()), float(entropy_of(probabilities).mean())
        )


@dataclass(frozen=True, eq=False)
class SlideScores:
    """What passes say of a slide.

    Attributes
    ----------
    passes : shape (T, K)
        The slide's score in each.
    entropy, mutual_information, max_probability
        Of the slide's class; or, where a slide is a mixture of classes, means over its tissue.
    """

    passes: Floats
    entropy: float
    mutual_information: float
    max_probability: float
    single: SinglePass

    @classmethod
    def of_class(cls, passes: Floats, single: Floats) -> SlideScores:
        """Of a slide that has one class; ``single`` (K,) is the plain pass."""
        spread = spread_of(passes)
        return cls(
            passes,
            float(spread.entropy),
            float(spread.mutual_information),
            float(spread.mean.max()),
            SinglePass.of(single[None]),
        )

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """As it stands in the slide's result."""

        def by_class(values: Floats) -> dict[str, float]:
            return dict(zip(classes, values.tolist(), strict=True))

        mean = self.passes.mean(axis=0)
        interval = passes_interval(self.passes)
        low, high = (None, None) if interval is None else map(by_class, interval)
        return {
            "classes": list(classes),
            "predicted": classes[int(mean.argmax())],
            "probability": by_class(mean),
            "ci_low": low,
            "ci_high": high,
            "interval": (
                "none: a single pass"
                if interval is None
                else f"2.5th to 97.5th percentile of {len(self.passes)} passes"
            ),
            "variance": by_class(self.passes.var(axis=0)),
            "entropy": self.entropy,
            "mutual_information": self.mutual_information,
            "max_probability": self.max_probability,
            "single_pass": vars(self.single),
        }


@dataclass(frozen=True, eq=False)
class FeaturesSeen:
    """For drift: the mean (F,) of a slide's features, and a sample (m, F) of them."""

    mean: NDArray[np.float32]
    sample: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TileScores:
    """What passes say of tiles.

    Attributes
    ----------
    coordinates : shape (N, 2)
        Upper left corners in level-0 pixels.
    spread
        Its arrays are of shape (N, K) or (N,).
    attention : shape (N,)
        Each tile's share; None but for bags with attention.
    """

    coordinates: Floats
    spread: Spread
    attention: Floats | None = None


def tempered_classes(log_probabilities: torch.Tensor, temperature: float) -> Floats:
    """Probabilities (..., K) at a temperature."""
    found = log_probabilities.double().exp().cpu().numpy()
    flat: Floats = tempered(found.reshape(-1, found.shape[-1]), temperature)
    return flat.reshape(found.shape)
