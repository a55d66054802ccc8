"""The learning rate as a function of the step: nothing that a checkpoint would have to hold."""

from __future__ import annotations

import math

from models.training.settings import Schedule

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, *, steps: int, warmup: float, schedule: Schedule) -> float:
    """The part of the highest learning rate at which a step is taken.

    Parameters
    ----------
    step
        From 0 to ``steps - 1``.
    steps
        Of the whole training.
    warmup
        The part of them in which the rate rises in a line.

    Returns
    -------
    float
        Above 0, at most 1.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
