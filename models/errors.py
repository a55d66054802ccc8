"""What can go wrong in training and prediction, beyond ``annotation.errors``.

The branches that this package adds to the tree drawn in ``annotation/errors.py``::

    PathquorumError
    ├── InputError
    │   ├── ModelFileError          a model, checkpoint or weights file that isn't ours, or doesn't fit
    │   │   └── MissingWeightsError an encoder without its weights, or without its licence accepted
    │   └── TileError               tiles or features that are absent, corrupt or of other settings
    └── RefusedError
        ├── StainError              a slide whose stains can't be told apart
        ├── TrainingError           training that cannot begin, or had to stop
        │   └── TrainingStoppedError    a signal asked it to; it can go on where it was
        └── PredictionError         a run of predictions that cannot go on, or left slides out
            └── PredictionStoppedError  a signal asked it to; it can go on where it was
"""

from __future__ import annotations

from annotation.errors import InputError, RefusedError

__all__ = [
    "MissingWeightsError",
    "ModelFileError",
    "PredictionError",
    "PredictionStoppedError",
    "StainError",
    "TileError",
    "TrainingError",
    "TrainingStoppedError",
]


class ModelFileError(InputError):
    """A model, checkpoint or weights file that is not ours, or does not fit what it is asked for."""


class MissingWeightsError(ModelFileError):
    """An encoder whose weights, or the acceptance of whose licence, are not there."""


class TileError(InputError):
    """Tiles or features that are absent, corrupt, or made under other settings."""


class StainError(RefusedError):
    """A slide whose stains or colours can't be estimated; ``slide`` says which."""


class TrainingError(RefusedError):
    """Training that cannot begin, or had to stop."""


class TrainingStoppedError(TrainingError):
    """A signal asked the training to stop; ``signal`` says which, ``folder`` where it can go on."""


class PredictionError(RefusedError):
    """A run of predictions that cannot go on, or whose ``slides`` did not all go through."""


class PredictionStoppedError(PredictionError):
    """A signal asked the run to stop; ``signal`` says which, ``folder`` where it can go on."""
