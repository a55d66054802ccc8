"""How an image of a project lies on its slide, from what the project says of it.

QuPath makes an image by a builder, which may wrap others: turned by quarters, cropped, with other
colours. Its OpenSlide reader shows of a slide only what was scanned (``openslide.bounds-*``), so
that the corner of the image is not the corner of the slide; other readers show all of it. Which one
it was can be told by the image's size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from annotation.errors import SourceError
from annotation.frames import WHOLE_SLIDE, Frame, SlideExtent, frame_of_size
from annotation.projects.files import SUMMARY_NAME, ProjectImage

__all__ = ["OPENSLIDE", "frame_of", "frame_to_open_with", "pixel_size_note"]

OPENSLIDE = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
"""QuPath's reader that shows of a slide what was scanned."""

_SAME_PLACE = {"uri", "channels", "color", "pyramidize", "swapRedBlue", "color_deconvolved"}
_NO_FRAME = {"affine": "transformed", "sparse": "put together from several images"}
_MPP_TOLERANCE = 0.01
_MICRONS = re.compile(r"^(?:µm|um|μm)$")

Size = tuple[int, int]


def frame_of(image: ProjectImage, slide: SlideExtent) -> Frame:
    """From the image's coordinates in QuPath to the slide's.

    Raises
    ------
    SourceError
        The image has another size than the slide and what was scanned of it, or is transformed in
        a way that has no exact way back.
    """
    chain = _chain(image)
    base, base_size = _base(image, chain, slide)
    frame, size = base, base_size
    for builder in reversed(chain):
        kind = str(builder.get("builderType"))
        step, size = _step(image, builder, kind, size)
        frame = frame.after(step)
    return frame


def frame_to_open_with(slide: SlideExtent) -> tuple[Frame, str | None]:
    """For an image that is put into a new project: its frame, and the reader that QuPath must take.

    Where only part of a slide was scanned, readers differ in what they show, so one is named.
    """
    if slide.bounds is None:
        return WHOLE_SLIDE, None
    return Frame(x0=slide.bounds[0], y0=slide.bounds[1]), OPENSLIDE


def _chain(image: ProjectImage) -> list[Mapping[str, Any]]:
    """The image's builders, the outermost first."""
    chain: list[Mapping[str, Any]] = []
    builder: Any = image.server
    while isinstance(builder, dict):
        chain.append(builder)
        builder = builder.get("builder")
    return chain


def _base(
    image: ProjectImage, chain: list[Mapping[str, Any]], slide: SlideExtent
) -> tuple[Frame, Size]:
    """How the file's pixels, as QuPath's reader gives them, lie on the slide, and how many."""
    whole: Size = (slide.width_px, slide.height_px)
    scanned = None if slide.bounds is None else (slide.bounds[2], slide.bounds[3])
    size = _base_size(image, chain)
    if size is None:
        if slide.bounds is None or scanned == whole:
            return WHOLE_SLIDE, whole
        innermost = chain[-1] if chain else {}
        if innermost.get("providerClassName") == OPENSLIDE and not innermost.get("args"):
            return Frame(x0=slide.bounds[0], y0=slide.bounds[1]), slide.bounds[2:]
        raise image.fault(
            f"whether QuPath shows slide {slide.name!r} whole or only what was scanned of it is not "
            "known before it is opened",
            "open it in QuPath once and save it",
        )
    what = f"{image.project}: image {image.name!r}"
    return frame_of_size(what, size, slide), size


def _base_size(image: ProjectImage, chain: list[Mapping[str, Any]]) -> Size | None:
    """The size that QuPath's reader gave, undoing turns; None where nothing says so, or a crop
    hides it."""
    known = None
    for builder in chain:
        known = _metadata_size(builder) or known
        if builder.get("builderType") == "cropped":
            known = None
        elif known is not None and _quarter(_rotation(builder)):
            known = known[::-1]
    if known is not None or any(builder.get("builderType") == "cropped" for builder in chain):
        return known
    size = _summary_size(image)
    quarters = sum(_quarter(_rotation(builder)) for builder in chain)
    return size[::-1] if size is not None and quarters % 2 else size


def _metadata_size(builder: Mapping[str, Any]) -> Size | None:
    metadata = builder.get("metadata")
    return _size(metadata) if isinstance(metadata, dict) else None


def _summary_size(image: ProjectImage) -> Size | None:
    """The size of the image in ``summary.json``, as it is shown."""
    try:
        content = json.loads((image.folder / SUMMARY_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    server = content.get("server") if isinstance(content, dict) else None
    return _size(server) if isinstance(server, dict) else None


def _size(told: Mapping[str, Any]) -> Size | None:
    size = told.get("width"), told.get("height")
    if all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size):
        return int(str(size[0])), int(str(size[1]))
    return None


def _step(
    image: ProjectImage, builder: Mapping[str, Any], kind: str, size: Size
) -> tuple[Frame, Size]:
    """From the coordinates that a builder gives to those of what it wraps, and the size it gives."""
    if kind in ("rotated", "uri"):
        return _turned(_rotation(builder), size)
    if kind == "cropped":
        region = builder.get("region")
        place = [region.get(key) for key in ("x", "y", "width", "height")] if isinstance(region, dict) else []  # fmt: skip
        if len(place) != 4 or not all(isinstance(number, int) for number in place):
            raise _no_way_back(image, "cropped")
        x, y, width, height = (int(str(number)) for number in place)
        return Frame(x0=x, y0=y), (width, height)
    if kind in _SAME_PLACE:
        return WHOLE_SLIDE, size
    raise _no_way_back(image, _NO_FRAME.get(kind, f"made by {kind!r}"))


def _rotation(builder: Mapping[str, Any]) -> str:
    """ROTATE_90 and the like, from a builder that turns or from the reader's arguments."""
    if builder.get("builderType") == "rotated":
        return str(builder.get("rotation"))
    args = builder.get("args")
    words = " ".join(str(word) for word in args) if isinstance(args, list) else ""
    found = re.search(r"--rotate[ =](\w+)", words)
    return found.group(1) if found else "ROTATE_NONE"


def _quarter(rotation: str) -> bool:
    return rotation in ("ROTATE_90", "ROTATE_270")


def _turned(rotation: str, size: Size) -> tuple[Frame, Size]:
    """Clockwise turns of an image of some size, as QuPath's RotatedImageServer does them."""
    width, height = size
    if rotation == "ROTATE_90":
        return Frame(0, 1, -1, 0, 0, height), (height, width)
    if rotation == "ROTATE_180":
        return Frame(-1, 0, 0, -1, width, height), size
    if rotation == "ROTATE_270":
        return Frame(0, -1, 1, 0, width, 0), (height, width)
    return WHOLE_SLIDE, size


def _no_way_back(image: ProjectImage, how: str) -> SourceError:
    return image.fault(
        f"it is {how} in QuPath, so its coordinates are not the slide's",
        "annotate the image as it is in the slide's file",
    )


def pixel_size_note(image: ProjectImage, slide: SlideExtent) -> str | None:
    """What to say where QuPath counts with another pixel size than the store; None where not.

    Coordinates don't depend on it, but areas and lengths that QuPath shows do.
    """
    for builder in _chain(image):
        metadata = builder.get("metadata")
        calibration = metadata.get("pixelCalibration") if isinstance(metadata, dict) else None
        width = calibration.get("pixelWidth") if isinstance(calibration, dict) else None
        if not isinstance(width, dict):
            continue
        value, unit = width.get("value"), str(width.get("unit"))
        if not isinstance(value, int | float) or not _MICRONS.match(unit):
            return None
        if abs(value - slide.mpp) > _MPP_TOLERANCE * slide.mpp:
            return (
                f"image {image.name!r} has {value:g} um per pixel in QuPath and slide {slide.name!r} "
                f"{slide.mpp:g} here; coordinates are the same, areas that QuPath shows are not"
            )
        return None
    return None
