"""Which slides `encode` is asked for: those of a release, or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from annotation.errors import InputError
from annotation.terminal import Invocation
from models.datasets.releases import TrainingRelease, open_training_release
from models.datasets.tile_targets import require_task
from models.encoding import SlideImage
from models.labels.objects import object_centres
from models.slide_paths import slide_paths

__all__ = ["slides_to_encode"]


def slides_to_encode(
    invocation: Invocation,
    release: str | None,
    paths: Sequence[Path],
    slide_mpp: float | None,
    *,
    around: bool,
) -> list[SlideImage]:
    """The slides that are meant, where ``around`` with the places of a release's objects.

    Raises
    ------
    InputError
        Two files bear one name.
    """
    if around and release is None:
        raise click.UsageError("Objects to encode --around are those of a --release.")
    if (release is None) == (not paths):
        raise click.UsageError("Name either a --release or --slides.")
    if release is not None:
        if slide_mpp is not None:
            raise click.UsageError("The store says what the slides of a --release measure.")
        with invocation.store.reading() as session:
            opened = open_training_release(session, release)
            if around:
                return _with_objects(invocation, opened)
            return [
                SlideImage(slide.name, slide.path, slide.fingerprint, slide.mpp, slide.part)
                for slide in opened.slides
            ]
    found = [file for path in paths for file in slide_paths(path)]
    for name, files in Counter(file.stem for file in found).items():
        if files > 1:
            raise InputError(
                f"two slides bear the name {name!r}; encode them into different folders", slide=name
            )
    return [SlideImage(file.stem, str(file), mpp=slide_mpp) for file in found]


def _with_objects(invocation: Invocation, release: TrainingRelease) -> list[SlideImage]:
    """The slides of a release on which anybody found an object, with the objects' places."""
    require_task(release, "objects")
    images = []
    for slide in release.slides:
        centres = object_centres(release.items(slide))
        if not len(centres):
            invocation.say(f"{slide.name}: nobody found an object, nothing to encode.")
            continue
        images.append(
            SlideImage(
                slide.name, slide.path, slide.fingerprint, slide.mpp, slide.part, centres=centres
            )
        )
    return images
