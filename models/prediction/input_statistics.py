"""What a slide looks like to a model: the figures in which a change of scanner or stain shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoding import TissueTiles
from models.errors import StainError
from models.reader import Reader
from models.reading.resampling import Pixels
from models.stain.macenko import macenko
from models.stain.slide_pixels import tissue_pixels
from models.tiling.sharpness import SHARPNESS_UM, laplacian_variance
from models.tiling.tissue import saturation

__all__ = ["InputStatistics", "input_statistics"]

FOCUS_PLACES = 64
"""So many squares of tissue are looked at for focus."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """Figures of a slide's tissue.

    Attributes
    ----------
    mpp
        Microns per pixel at level 0.
    vendor, scanner, objective
        The kind of file; the scanner and its magnification, where the file says so.
    tissue_share
        Part of the slide, or of what was scanned of it, that is tissue.
    brightness, saturation
        Means over the tissue, 0 to 1.
    focus
        Median over squares of 128 um of the variance of the Laplacian of brightness (0 to 255); None
        where none of the squares looked at holds tissue.
    stain_hematoxylin, stain_eosin
        Macenko's vectors, densities in red, green and blue; None where they can't be told apart.
    strength_hematoxylin, strength_eosin
        The 99th percentile of each one's concentration; likewise None.
    stain_reason
        Why there are no stains.
    n_tiles
        That hold tissue.
    """

    mpp: float
    vendor: str
    scanner: str | None
    objective: float | None
    tissue_share: float
    brightness: float
    saturation: float
    focus: float | None
    stain_hematoxylin: tuple[float, ...] | None
    stain_eosin: tuple[float, ...] | None
    strength_hematoxylin: float | None
    strength_eosin: float | None
    stain_reason: str | None
    n_tiles: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def input_statistics(reader: Reader, tissue: TissueTiles, *, seed: int) -> InputStatistics:
    """The figures of a slide.

    Parameters
    ----------
    seed
        Of the places and pixels that are looked at.
    """
    mask, slide = tissue.mask.tissue, reader.slide
    pixels = tissue.picture.pixels[mask]
    rng = np.random.default_rng(seed)
    stains: dict[str, Any] = dict.fromkeys(
        ("stain_hematoxylin", "stain_eosin", "strength_hematoxylin", "strength_eosin",
         "stain_reason")
    )  # fmt: skip
    try:
        found = macenko(tissue_pixels(reader, tissue.grid, seed=seed), tissue.grid.slide)
    except StainError as error:
        stains["stain_reason"] = error.message
    else:
        for number, name in enumerate(("hematoxylin", "eosin")):
            stains[f"stain_{name}"] = tuple(found.vectors[:, number].tolist())
            stains[f"strength_{name}"] = float(found.strongest[number])
    return InputStatistics(
        mpp=slide.mpp,
        vendor=slide.vendor,
        scanner=reader.scanner,
        objective=slide.objective,
        tissue_share=float(mask.mean()),
        brightness=float((pixels @ _LUMA).mean() / 255),
        saturation=float(saturation(pixels[None]).mean()),
        focus=_focus(reader, tissue, rng),
        n_tiles=len(tissue.grid),
        **stains,
    )


def _focus(reader: Reader, tissue: TissueTiles, rng: np.random.Generator) -> float | None:
    """The median sharpness of squares around drawn places of the tissue."""
    mask, mpp = tissue.mask, tissue.grid.settings.tissue.blur_mpp
    rows, columns = np.nonzero(mask.tissue)
    chosen = np.sort(rng.choice(len(rows), min(FOCUS_PLACES, len(rows)), replace=False))
    size_px = max(8, round(SHARPNESS_UM / mpp))
    side_px = reader.plan(mpp=mpp, size_px=size_px).side_px
    found = []
    for row, column in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True):
        x_px = mask.x_px + (column + 0.5) * mask.cell_px - side_px / 2
        y_px = mask.y_px + (row + 0.5) * mask.cell_px - side_px / 2
        square: Pixels = reader.read(x_px, y_px, mpp=mpp, size_px=size_px)
        inside = _tissue_within(tissue, x_px, y_px, side_px, size_px)
        found.append(laplacian_variance(square, inside, size_px)[0, 0])
    finite = np.array(found)[np.isfinite(found)]
    return float(np.median(finite)) if len(finite) else None


def _tissue_within(
    tissue: TissueTiles, x_px: float, y_px: float, side_px: float, size_px: int
) -> NDArray[np.bool_]:
    """Which pixels of a square are tissue; beyond the mask there is none."""
    mask = tissue.mask
    centers = (np.arange(size_px) + 0.5) * side_px / size_px
    columns = np.floor((x_px + centers - mask.x_px) / mask.cell_px).astype(np.int64)
    rows = np.floor((y_px + centers - mask.y_px) / mask.cell_px).astype(np.int64)
    height, width = mask.tissue.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
    found = mask.tissue[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return np.asarray(inside & found)
