"""The U-Net takes any size, and what is learnt depends on nothing else in the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from annotation.errors import InputError
from models.architectures import build
from models.extras import needs
from models.segmentation.unet import UNet


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 5), (64, 3)])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_size_of_the_image(size: tuple[int, int], depth: int) -> None:
    network = UNet(4, width=8, depth=depth)
    assert network(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_a_mask_does_not_depend_on_the_rest_of_the_batch() -> None:
    torch.manual_seed(0)
    network = UNet(3, width=8, depth=2).train()
    images = torch.rand(3, 3, 24, 24)
    together = network(images)
    for number in range(3):
        torch.testing.assert_close(
            network(images[number : number + 1])[0], together[number], atol=1e-4, rtol=1e-4
        )


def test_a_unet_drops_channels_in_training_alone() -> None:
    torch.manual_seed(0)
    network = UNet(3, width=8, depth=2, dropout=0.5)
    images = torch.rand(1, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    torch.testing.assert_close(network(images), network(images))
    network.dropout.p = 0.0
    torch.testing.assert_close(network.train()(images), network.eval()(images))


def test_every_parameter_learns() -> None:
    network = UNet(3, width=8, depth=2)
    network(torch.rand(1, 3, 20, 20)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"classes": 1}, "tells nothing apart"),
        ({"classes": 3, "width": 12}, "multiple of 8"),
        ({"classes": 3, "depth": 0}, "1 to 7"),
        ({"classes": 3, "dropout": 1.0}, "below 1"),
    ],
)
def test_what_cannot_be_a_unet_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        UNet(**given)


def test_both_kinds_are_built_by_name() -> None:
    assert isinstance(build("unet", {"classes": 3, "width": 8, "depth": 1}), UNet)


def test_networks_of_segmentation_models_pytorch_are_built_by_their_names() -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs the extra `seg`")
    needs("segmentation_models_pytorch", "seg")
    network = build("smp", {"classes": 4, "decoder": "fpn", "encoder": "resnet18"})
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 4, 64, 64)
    dropping = build("smp", {"classes": 4, "dropout": 0.5}).eval()
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(dropping(images), dropping(images))
    dropping.get_submodule("segmentation_head").train()
    assert not torch.equal(dropping(images), dropping(images))
    with pytest.raises(InputError, match="below 1"):
        build("smp", {"classes": 4, "dropout": 1.0})
    for wrong in ({"decoder": "nope"}, {"encoder": "nope"}):
        with pytest.raises(InputError, match="no network"):
            build("smp", {"classes": 4, **wrong})
