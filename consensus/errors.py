"""What can go wrong between ratings and a consensus, beyond ``annotation.errors``.

The branches that this package adds to the tree drawn in ``annotation/errors.py``::

    PathquorumError
    ├── InputError
    │   ├── RatingsError            ratings that contradict themselves, or a class nobody declared
    │   ├── UnorderedClassesError   ordinal weights asked of classes that have no order
    │   ├── TableFileError          a CSV file of ratings that can't be read
    │   └── NoRatingsError          no read in the store counts
    └── RefusedError
        ├── TooFewRatersError       expectation-maximisation on fewer than three raters
        └── NoVotesError            nothing says what a rater's vote weighs, or none weighs anything
"""

from __future__ import annotations

from annotation.errors import InputError, RefusedError

__all__ = [
    "NoRatingsError",
    "NoVotesError",
    "RatingsError",
    "TableFileError",
    "TooFewRatersError",
    "UnorderedClassesError",
]


class RatingsError(InputError):
    """Ratings that contradict themselves, or that can't be what they claim to be."""


class UnorderedClassesError(InputError):
    """Linear or quadratic weights were asked of classes without an order."""


class TableFileError(InputError):
    """A CSV file of ratings that can't be read; ``path`` and ``row`` say where."""


class TooFewRatersError(RefusedError):
    """A method that estimates raters from each other has too few of them."""


class NoVotesError(RefusedError):
    """A weighted majority was asked for where no vote has a weight."""


class NoRatingsError(InputError):
    """No read in the store counts under the protocol."""
