"""A slide that a model is to see, known before anything of it is opened."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SlideImage"]


@dataclass(frozen=True)
class SlideImage:
    """A slide to encode or to predict.

    Attributes
    ----------
    path, fingerprint
        Its image, and what the image must be, where the store knows it.
    mpp
        Microns per pixel at level 0 that hold whatever the file says; None: what it says.
    part
        Of the release's split; empty without a release.
    """

    name: str
    path: str | None
    fingerprint: str | None = None
    mpp: float | None = None
    part: str = ""
