"""Which level is read for a resolution, and how it is resampled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import InputError
from annotation.slides import SlideRecord
from models.reading.plan import plan_reading


def slide(mpp: float, *levels: tuple[int, int]) -> SlideRecord:
    """A slide that no file stands behind."""
    width_px, height_px = levels[0]
    return SlideRecord(
        "S", Path("S.tiff"), width_px, height_px, mpp, "file", 40.0, "aperio", None, levels, None, ()
    )  # fmt: skip


# A scanner's slide whose lower levels are rounded down.
APERIO = slide(0.2528, (98_305, 76_803), (24_576, 19_200), (6_144, 4_800))


@pytest.mark.parametrize(
    ("mpp", "level", "resampling"),
    [
        (0.2528, 0, "none"),
        (0.5056, 0, "mean of 2 x 2 px"),
        (1.0112, 1, "none"),  # 4.0001 is 4 over a tile
        (2.0224, 1, "mean of 2 x 2 px"),
        (4.0448, 2, "none"),
        (0.5, 0, "antialiased bilinear by 1.97785"),
        (0.25, 0, "antialiased bilinear by 0.988924"),
        (2.5, 1, "antialiased bilinear by 2.47225"),
        (23.0, 2, "mean of 2 x 2 px, then antialiased bilinear by 2.84309"),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(
    mpp: float, level: int, resampling: str
) -> None:
    plan = plan_reading(APERIO, mpp=mpp, size_px=256)
    assert (plan.level, plan.resampling) == (level, resampling)


@given(
    mpp=st.floats(0.1, 2.0),
    target=st.floats(0.06, 64.0),
    size_px=st.integers(16, 1024),
    steps=st.lists(st.integers(2, 5), max_size=4),
)
def test_a_tile_covers_what_its_resolution_says_to_half_a_pixel_of_what_is_read(
    mpp: float, target: float, size_px: int, steps: list[int]
) -> None:
    levels = [(100_000, 80_000)]
    for step in steps:
        levels.append((levels[-1][0] // step, levels[-1][1] // step))
    source = slide(mpp, *levels)
    if target < mpp / 2:
        with pytest.raises(InputError, match="too coarse for tiles at"):
            plan_reading(source, mpp=target, size_px=size_px)
        return
    plan = plan_reading(source, mpp=target, size_px=size_px)
    assert abs(plan.side_px - size_px * target / mpp) <= 0.5001 * plan.px_per_pixel
    # Only level 0 is ever enlarged, and what is left is never averaged away by resampling alone.
    assert plan.residual >= 1.0 or (plan.level, plan.reduction) == (0, 1)
    assert plan.residual < 4.0
    wanted = target / mpp * (1 + 0.5 / size_px)
    finer = [n for n, (width, height) in enumerate(levels) if (1e5 / width + 8e4 / height) / 2 <= wanted]  # fmt: skip
    assert plan.level == max(finer, default=0)


@pytest.mark.parametrize(
    ("mpp", "size_px", "says"),
    [
        (0.1, 256, "slide 'S' has 0.2528 microns per pixel, too coarse for tiles at 0.1; ask for at least 0.1264"),
        (0.5, 0, "tiles of 0 px can't be read; ask for 1 to 8192 px"),
        (0.5, 10_000, "tiles of 10000 px can't be read"),
        (float("nan"), 256, "tiles at nan microns per pixel can't be read"),
        (float("inf"), 256, "tiles at inf microns per pixel can't be read"),
        (-0.5, 256, "tiles at -0.5 microns per pixel"),
    ],
)  # fmt: skip
def test_what_cant_be_read_is_one_line(mpp: float, size_px: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_reading(APERIO, mpp=mpp, size_px=size_px)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
