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
from models.segmentation.windows import Blending, Windows, predict_bands, predict_mask


def reading(image: NDArray[np.uint8]) -> object:
    def read(left: int, top: int, side: int) -> NDArray[np.uint8]:
        window = np.full((side, side, 3), 255, dtype=np.uint8)
        found = image[top : top + side, left : left + side]
        window[: found.shape[0], : found.shape[1]] = found
        return window

    return read


def whole(network: nn.Module, image: NDArray[np.uint8], windows: Windows) -> NDArray[np.float32]:
    return predict_mask(
        predict_bands(
            network,
            reading(image),
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
            width_px=width,
            height_px=height,
            windows=windows,
            to_input=to_input,
        )
    )
    tops = [band.top_px for band in bands]
    ends = [band.top_px + band.probabilities.shape[1] for band in bands]
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
    found = whole(Constant(), image, Windows(size_px=16, overlap=0.3, blending=blending))
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
    found = whole(network, image, Windows(size_px=24, overlap=0.75, blending="hann"))
    with torch.no_grad():
        wanted = torch.softmax(network(to_input(image[None])), dim=1)[0].numpy()
    inner = (slice(None), slice(8, 32), slice(8, 32))
    assert np.abs(found[inner] - wanted[inner]).max() < 0.01
    flat = whole(network, image, Windows(size_px=24, overlap=0.75, blending="flat"))
    assert np.abs(flat[inner] - wanted[inner]).max() > 0.01


def test_how_many_windows_are_computed_at_once_does_not_matter() -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, many = (
        whole(pixelwise(), image, Windows(size_px=20, overlap=0.5, batch=batch)) for batch in (1, 7)
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


def test_windows_that_are_of_no_use_are_left_out() -> None:
    """Where all windows are of use the result is the whole picture's; where none is it is 0."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    windows = Windows(size_px=32)
    read: list[tuple[int, int]] = []

    def counted(left: int, top: int, side: int) -> NDArray[np.uint8]:
        read.append((left, top))
        return reading(image)(left, top, side)  # type: ignore[operator]

    some = predict_mask(
        predict_bands(
            network,
            counted,
            width_px=90,
            height_px=70,
            windows=windows,
            to_input=to_input,
            wanted=lambda left, top, side: left + side > 60 and top + side > 50,
        )
    )
    everything = whole(network, image, windows)
    np.testing.assert_array_equal(some[:, 50:, 60:], everything[:, 50:, 60:])
    assert not some[:, 40:48, :10].any()
    assert len(read) < len(windows.starts(90)) * len(windows.starts(70)) / 2


def test_a_temperature_is_of_blended_probabilities() -> None:
    """The power of its inverse, as it is fitted; what no window reached stays nothing."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, kernel_size=1)
    image = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    bands = predict_bands(
        network,
        reading(image),  # type: ignore[arg-type]
        width_px=40,
        height_px=40,
        windows=Windows(size_px=32),
        to_input=to_input,
        temperature=2.5,
        wanted=lambda left, top, side: left == 0,
    )
    made = predict_mask(bands)
    plain = whole(network, image, Windows(size_px=32))[:, :, :8].astype(float)
    powers = plain ** (1 / 2.5)
    np.testing.assert_allclose(made[:, :, :8], powers / powers.sum(axis=0), rtol=1e-4)
    assert not made[:, :, 32:].any()
