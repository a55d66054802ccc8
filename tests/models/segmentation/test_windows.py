"""Sliding windows cover everything once, leave no seams and hold one row of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from annotation.errors import InputError
from models.segmentation.training import to_input
from models.segmentation.windows import (
    Blending,
    ReadWindow,
    Windows,
    blended_bands,
    predict_bands,
    predict_mask,
)


def reading(image: NDArray[np.uint8]) -> ReadWindow:
    def read(left: int, top: int, side: int) -> NDArray[np.uint8]:
        window = np.full((side, side, 3), 255, dtype=np.uint8)
        found = image[top : top + side, left : left + side]
        window[: found.shape[0], : found.shape[1]] = found
        return window

    return read


def whole(
    network: nn.Module, image: NDArray[np.uint8], windows: Windows, classes: int
) -> NDArray[np.float32]:
    return predict_mask(
        predict_bands(
            network,
            reading(image),
            classes=classes,
            width_px=image.shape[1],
            height_px=image.shape[0],
            windows=windows,
            to_input=to_input,
        )
    )


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.3, -1.0, 2.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.view(1, 3, 1, 1).expand(len(images), 3, *images.shape[-2:])


def pixelwise() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, kernel_size=1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 24), st.floats(0, 0.9),
    st.sampled_from(["gaussian", "hann", "flat"]), st.integers(1, 5),
)  # fmt: skip
def test_bands_follow_each_other_and_a_pixelwise_network_gives_what_one_pass_gives(
    height: int, width: int, size: int, overlap: float, blending: Blending, batch: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    windows = Windows(size_px=size, overlap=overlap, blending=blending, batch=batch)
    network = pixelwise()
    bands = list(
        predict_bands(
            network,
            reading(image),
            classes=4,
            width_px=width,
            height_px=height,
            windows=windows,
            to_input=to_input,
        )
    )
    tops = [band.top_px for band in bands]
    ends = [band.top_px + band.values.shape[1] for band in bands]
    assert tops == [0, *ends[:-1]]
    assert ends[-1] == height
    found = predict_mask(iter(bands))
    with torch.no_grad():
        wanted = torch.softmax(network(to_input(image[None])), dim=1)[0].numpy()
    assert found.shape == (4, height, width)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("blending", ["gaussian", "hann", "flat"])
def test_a_constant_network_gives_a_constant(blending: Blending) -> None:
    image = np.zeros((53, 71, 3), dtype=np.uint8)
    found = whole(Constant(), image, Windows(size_px=16, overlap=0.3, blending=blending), 3)
    wanted = torch.softmax(torch.tensor([0.3, -1.0, 2.0]), dim=0).numpy()
    np.testing.assert_allclose(
        found, np.broadcast_to(wanted[:, None, None], found.shape), atol=1e-6
    )


def test_within_reach_of_a_convolution_windows_give_what_one_pass_gives() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, kernel_size=3, padding=1)
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    # A window's border sees zeros in place of its neighbours, so that only the blending's middle
    # is exact: with weights that are all but 0 at the border little of it is left.
    found = whole(network, image, Windows(size_px=24, overlap=0.75, blending="hann"), 2)
    with torch.no_grad():
        wanted = torch.softmax(network(to_input(image[None])), dim=1)[0].numpy()
    inner = (slice(None), slice(8, 32), slice(8, 32))
    assert np.abs(found[inner] - wanted[inner]).max() < 0.01
    flat = whole(network, image, Windows(size_px=24, overlap=0.75, blending="flat"), 2)
    assert np.abs(flat[inner] - wanted[inner]).max() > 0.01


def test_how_many_windows_are_computed_at_once_does_not_matter() -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, many = (
        whole(pixelwise(), image, Windows(size_px=20, overlap=0.5, batch=batch), 4)
        for batch in (1, 7)
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500), st.integers(1, 80), st.floats(0, 0.95))
def test_windows_reach_from_end_to_end_and_overlap_as_asked(
    length: int, size: int, overlap: float
) -> None:
    starts = Windows(size_px=size, overlap=overlap).starts(length)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - size)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, round(size * (1 - overlap)))).all()


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"size_px": 0}, "1 or more"),
        ({"size_px": 8, "overlap": 1.0}, "below 1"),
        ({"size_px": 8, "blending": "soft"}, "no blending 'soft'"),
    ],
)
def test_what_cannot_be_windows_is_refused(given_: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Windows(**given_)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.floats(0, 0.9),
    st.sampled_from(["gaussian", "hann", "flat"]),
)  # fmt: skip
def test_shares_of_all_windows_add_up_to_one_and_give_the_blended_mean(
    height: int, width: int, size: int, overlap: float, blending: Blending
) -> None:
    windows = Windows(size_px=size, overlap=overlap, blending=blending)
    lefts, tops = windows.starts(width), windows.starts(height)
    rng = np.random.default_rng(0)
    together, weighed = (np.zeros((max(height, size), max(width, size))) for _ in range(2))

    def compute(_: object, some: list[int], top: int) -> NDArray[np.float32]:
        values = rng.random((len(some), 1, size, size), np.float32)
        for left, value in zip(some, values, strict=True):
            place = slice(top, top + size), slice(left, left + size)
            shares = windows.shares(left, top, lefts, tops)
            together[place] += shares
            weighed[place] += shares * value[0]
        return values

    bands = blended_bands(
        compute,
        reading(np.zeros((height, width, 3), dtype=np.uint8)),
        width_px=width,
        height_px=height,
        channels=1,
        windows=windows,
    )
    found = predict_mask(bands)[0]
    np.testing.assert_allclose(together, 1)
    np.testing.assert_allclose(weighed[:height, :width], found, atol=1e-5)


def test_only_wanted_windows_are_read_and_nothing_stands_elsewhere() -> None:
    image = np.full((40, 64, 3), 7, dtype=np.uint8)
    read_at: list[tuple[int, int]] = []
    read = reading(image)

    def reading_down(left: int, top: int, side: int) -> NDArray[np.uint8]:
        read_at.append((left, top))
        return read(left, top, side)

    bands = blended_bands(
        lambda pixels, *_: np.ones((len(pixels), 2, 16, 16), dtype=np.float32),
        reading_down,
        width_px=64,
        height_px=40,
        channels=2,
        windows=Windows(size_px=16, overlap=0.0, batch=2),
        wanted=lambda left, top: left == 16 and top > 0,
    )
    found = predict_mask(bands)
    assert read_at == [(16, 12), (16, 24)]
    wanted = np.zeros((2, 40, 64))
    wanted[:, 12:40, 16:32] = 1
    np.testing.assert_array_equal(found, wanted)
