"""Slides: size, microns per pixel and pictures through OpenSlide."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from annotation.errors import InputError, SlideError
from annotation.slide_files import fingerprint, slide_files

if TYPE_CHECKING:
    from openslide import OpenSlide
    from PIL import Image

__all__ = [
    "LARGEST_MPP",
    "SMALLEST_MPP",
    "SlideRecord",
    "fingerprint",
    "read_region",
    "read_slide",
    "recognisable_content",
    "slide_files",
    "thumbnail",
    "tiles_of",
]

SMALLEST_MPP = 0.05
LARGEST_MPP = 4.0
_LARGEST_ANISOTROPY = 0.01
_LARGEST_PICTURE_PX = 8192
_BLOCK_PX = 2048
_UM_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """What a slide's file says about it.

    Attributes
    ----------
    name
        The file's base name without extension.
    width_px, height_px
        Size at level 0.
    mpp, mpp_source
        Microns per pixel at level 0, and whether the file says so or the user.
    objective
        Magnification of the objective, where it is recorded.
    bounds
        x, y, width and height of what was scanned, in level-0 pixels, where the file is larger.
    levels
        Width and height of each level in its own pixels, the largest first.
    fingerprint
        See `fingerprint`; None where hashing was left for later.
    files
        All files that the slide consists of, as paths from the slide's folder.
    """

    name: str
    path: Path
    width_px: int
    height_px: int
    mpp: float
    mpp_source: Literal["file", "given"]
    objective: float | None
    vendor: str
    bounds: tuple[int, int, int, int] | None
    levels: tuple[tuple[int, int], ...]
    fingerprint: str | None
    files: tuple[str, ...]


def read_slide(
    path: str | Path, *, mpp: float | None = None, hash_files: bool = True
) -> SlideRecord:
    """Read what a slide's file says about it.

    Parameters
    ----------
    path
        The file that opens the slide.
    mpp
        Microns per pixel that hold whatever the file says.
    hash_files
        Whether to read all its files for the fingerprint; it can be made later.

    Raises
    ------
    SlideError
        No slide, a broken one, or one without usable microns per pixel while `mpp` is None.
    """
    path = Path(path)
    with _opened(path) as slide:
        _probe(slide)
        width_px, height_px = slide.dimensions
        properties = dict(slide.properties)
        levels = tuple((int(width), int(height)) for width, height in slide.level_dimensions)
    return SlideRecord(
        name=path.stem,
        path=path,
        width_px=int(width_px),
        height_px=int(height_px),
        mpp=_mpp(path, properties) if mpp is None else _given_mpp(path, mpp),
        mpp_source="file" if mpp is None else "given",
        objective=_number(properties, "openslide.objective-power"),
        vendor=properties.get("openslide.vendor", ""),
        bounds=_bounds(properties),
        levels=levels,
        fingerprint=fingerprint(path) if hash_files else None,
        files=tuple(file.relative_to(path.parent).as_posix() for file in slide_files(path)),
    )


def thumbnail(path: str | Path, max_px: int = 1024) -> Image.Image:
    """Return the whole slide as an RGB picture whose longer side is at most `max_px`."""
    path = Path(path)
    with _opened(path) as slide:
        return _picture(slide, (0, 0, *slide.dimensions), max_px)


def read_region(
    path: str | Path,
    x_px: float,
    y_px: float,
    width_px: float,
    height_px: float,
    *,
    max_px: int = 1024,
) -> Image.Image:
    """Return a part of the slide as an RGB picture whose longer side is at most `max_px`.

    The part is given in level-0 pixels; it is read at the coarsest level that still resolves it,
    and block by block, so that memory doesn't depend on its size. Beyond the slide's edge the
    picture has the slide's background colour.
    """
    if not (
        all(map(math.isfinite, (x_px, y_px, width_px, height_px))) and width_px > 0 < height_px
    ):
        raise InputError(
            f"a region of {width_px:g} x {height_px:g} px at {x_px:g}, {y_px:g} shows nothing; "
            "name finite numbers and sizes above 0"
        )
    with _opened(Path(path)) as slide:
        return _picture(slide, (x_px, y_px, width_px, height_px), max_px)


@contextmanager
def tiles_of(path: str | Path) -> Iterator[Callable[[float, float, float, int], Image.Image]]:
    """A function that reads square tiles of the slide, which stays open as long as the block runs.

    It takes a tile's upper left corner and its side in level-0 pixels, and its side in its own
    pixels, and gives an RGB picture. A tile is cut to a fraction of a pixel from the coarsest level
    that still resolves it, and averaged over areas. Beyond the slide's edge it has the slide's
    background colour.
    """
    with _opened(Path(path)) as slide:
        yield lambda x_px, y_px, side_px, size_px: _tile(slide, x_px, y_px, side_px, size_px)


def recognisable_content(path: str | Path, name: str) -> tuple[str, ...]:
    """What within a slide's file tells which slide it is, whatever the file is called.

    Parameters
    ----------
    name
        What the slide is called, as it may stand in the file.

    Returns
    -------
    The pictures that come with the slide (a thumbnail of the tissue isn't one of them), such as
    ``label`` and ``macro``, and as ``property KEY`` each property that holds the name.
    """
    path = Path(path)
    wanted = name.strip().casefold()
    with _opened(path) as slide:
        pictures = sorted(set(slide.associated_images) - {"thumbnail"})
        properties = dict(slide.properties)
    telling = [
        f"property {key}"
        for key, value in sorted(properties.items())
        if wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", value.casefold())
    ]
    return (*pictures, *telling)


@contextmanager
def _opened(path: Path) -> Iterator[OpenSlide]:
    """Open a slide; whatever OpenSlide says against it becomes one line."""
    import openslide

    if not path.exists():
        raise SlideError(f"there is no slide {str(path)!r}; check the path", path=path)
    if path.is_dir():
        raise SlideError(f"{str(path)!r} is a folder; name the slide's file in it", path=path)
    try:
        with openslide.OpenSlide(path) as slide:
            yield slide
    except openslide.OpenSlideUnsupportedFormatError:
        raise SlideError(
            f"{str(path)!r} is no slide that OpenSlide reads; name another file, or convert it "
            "to a tiled pyramidal TIFF",
            path=path,
        ) from None
    except openslide.OpenSlideError as error:
        reason = " ".join(str(error).split())
        raise SlideError(
            f"slide {str(path)!r} is broken ({reason}); copy it again from its source, or "
            "convert it to a tiled pyramidal TIFF",
            path=path,
        ) from None


def _probe(slide: OpenSlide) -> None:
    """Decode the middle and the last pixel of each level: many a broken slide opens well."""
    for level, (width, height) in enumerate(slide.level_dimensions):
        downsample = slide.level_downsamples[level]
        for x, y in ((width // 2, height // 2), (width - 1, height - 1)):
            slide.read_region((int(x * downsample), int(y * downsample)), level, (1, 1))


def _mpp(path: Path, properties: dict[str, str]) -> float:
    mpp_x = _number(properties, "openslide.mpp-x") or _resolution(properties, "tiff.XResolution")
    mpp_y = _number(properties, "openslide.mpp-y") or _resolution(properties, "tiff.YResolution")
    mpp_x, mpp_y = mpp_x or mpp_y, mpp_y or mpp_x
    if mpp_x is None or mpp_y is None:
        raise SlideError(
            f"slide {str(path)!r} has no microns per pixel; pass --mpp or set it in QuPath",
            path=path,
        )
    if abs(mpp_x - mpp_y) > _LARGEST_ANISOTROPY * min(mpp_x, mpp_y):
        raise SlideError(
            f"slide {str(path)!r} has pixels that are not square ({mpp_x:g} x {mpp_y:g} um); "
            "pass --mpp with the one value to measure by",
            path=path,
            mpp_x=mpp_x,
            mpp_y=mpp_y,
        )
    # The geometric mean keeps areas right.
    mpp = mpp_x if mpp_x == mpp_y else math.sqrt(mpp_x * mpp_y)
    if not SMALLEST_MPP <= mpp <= LARGEST_MPP:
        raise SlideError(
            f"slide {str(path)!r} says {mpp:g} microns per pixel, outside {SMALLEST_MPP:g} to "
            f"{LARGEST_MPP:g}; pass --mpp or set it in QuPath",
            path=path,
            mpp=mpp,
        )
    return mpp


def _given_mpp(path: Path, mpp: float) -> float:
    if not SMALLEST_MPP <= mpp <= LARGEST_MPP:
        raise SlideError(
            f"--mpp {mpp:g} for slide {str(path)!r} is outside {SMALLEST_MPP:g} to "
            f"{LARGEST_MPP:g}; pass microns per pixel at full resolution",
            path=path,
            mpp=mpp,
        )
    return float(mpp)


def _number(properties: dict[str, str], key: str) -> float | None:
    """Return a property as a finite number above 0, None where it is none."""
    try:
        value = float(properties[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _resolution(properties: dict[str, str], key: str) -> float | None:
    pixels_per_unit = _number(properties, key)
    um_per_unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""))
    if pixels_per_unit is None or um_per_unit is None:
        return None
    return um_per_unit / pixels_per_unit


def _bounds(properties: dict[str, str]) -> tuple[int, int, int, int] | None:
    try:
        x, y, width, height = (
            int(properties[f"openslide.bounds-{key}"]) for key in ("x", "y", "width", "height")
        )
    except (KeyError, ValueError):
        return None
    return x, y, width, height


def _picture(
    slide: OpenSlide, region: tuple[float, float, float, float], max_px: int
) -> Image.Image:
    from PIL import Image

    if not 16 <= max_px <= _LARGEST_PICTURE_PX:
        raise InputError(
            f"a picture of {max_px} px can't be made; ask for 16 to {_LARGEST_PICTURE_PX} px",
            max_px=max_px,
        )
    x_px, y_px, width_px, height_px = region
    scale = max(1.0, width_px / max_px, height_px / max_px)
    width, height = (max(1, round(side / scale)) for side in (width_px, height_px))
    level = slide.get_best_level_for_downsample(scale)
    zoom = scale / slide.level_downsamples[level]  # level pixels per picture pixel
    background = f"#{slide.properties.get('openslide.background-color', 'ffffff')}"
    picture = Image.new("RGB", (width, height), background)
    step = max(1, int(_BLOCK_PX / zoom))
    for top in range(0, height, step):
        for left in range(0, width, step):
            size = min(step, width - left), min(step, height - top)
            corner = math.floor(x_px + left * scale), math.floor(y_px + top * scale)
            extent = [max(1, round(side * zoom)) for side in size]
            block = slide.read_region(corner, level, (extent[0], extent[1]))
            opaque = Image.new("RGB", block.size, background)
            opaque.paste(block, mask=block.getchannel("A"))
            picture.paste(opaque.resize(size, Image.Resampling.BOX), (left, top))
    return picture


def _tile(slide: OpenSlide, x_px: float, y_px: float, side_px: float, size_px: int) -> Image.Image:
    from PIL import Image

    scale = side_px / size_px
    level = slide.get_best_level_for_downsample(max(scale, 1.0))
    downsample = slide.level_downsamples[level]
    zoom = scale / downsample  # level pixels per tile pixel
    # Where a tile is finer than the slide, areas would show the slide's pixels as squares.
    filtering = Image.Resampling.BOX if zoom >= 1 else Image.Resampling.BILINEAR
    background = f"#{slide.properties.get('openslide.background-color', 'ffffff')}"
    tile = Image.new("RGB", (size_px, size_px), background)
    step = max(1, int(_BLOCK_PX / zoom))
    for top in range(0, size_px, step):
        for left in range(0, size_px, step):
            size = min(step, size_px - left), min(step, size_px - top)
            x, y = (x_px / downsample + left * zoom, y_px / downsample + top * zoom)
            corner = math.floor(x), math.floor(y)
            extent = math.ceil(x + size[0] * zoom), math.ceil(y + size[1] * zoom)
            block = slide.read_region(
                (round(corner[0] * downsample), round(corner[1] * downsample)),
                level,
                (extent[0] - corner[0], extent[1] - corner[1]),
            )
            opaque = Image.new("RGB", block.size, background)
            opaque.paste(block, mask=block.getchannel("A"))
            x, y = x - corner[0], y - corner[1]
            box = (x, y, x + size[0] * zoom, y + size[1] * zoom)
            box = (*box[:2], min(box[2], block.width), min(box[3], block.height))
            tile.paste(opaque.resize(size, filtering, box=box), (left, top))
    return tile
