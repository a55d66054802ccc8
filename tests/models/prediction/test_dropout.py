"""A pass with dropout is one thinned network: what it drops, how often, and that it ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.prediction.dropout import dropout_layers, thinned


def test_layers_that_drop_nothing_are_none() -> None:
    network = nn.Sequential(nn.Dropout(0.0), nn.Dropout(0.5), nn.Linear(2, 2), nn.Dropout2d(0.1))
    assert dropout_layers(network) == [network[1], network[3]]


def test_within_a_pass_all_tiles_lose_the_same_and_afterwards_nothing() -> None:
    layer = nn.Dropout(0.5).eval()
    tiles = torch.ones(3, 7, 40)
    with thinned(layer, 5, shared="tiles"):
        found = layer(tiles)
        assert torch.equal(layer(tiles[:1, :2]), found[:1, :2])
    assert torch.equal(layer(tiles), tiles)
    assert (found == found[0, 0]).all()
    assert sorted(found.unique().tolist()) == [0, 2]
    with thinned(layer, 5, shared="tiles"):
        assert torch.equal(layer(tiles), found)
    with thinned(layer, 6, shared="tiles"):
        assert not torch.equal(layer(tiles), found)


def test_images_lose_the_same_at_the_same_place_or_whole_channels() -> None:
    images = torch.ones(2, 6, 5, 4)
    by_element, by_channel = nn.Dropout(0.5).eval(), nn.Dropout2d(0.5).eval()
    with thinned(by_element, 1, shared="batch"), thinned(by_channel, 1, shared="batch"):
        elements, channels = by_element(images), by_channel(images)
    assert torch.equal(elements[0], elements[1])
    assert len(elements[0, 0].unique()) == 2
    assert (channels == channels[0, :, :1, :1]).all()
    assert len(channels.unique()) == 2


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_over_passes_each_is_kept_as_often_as_it_should_be(p: float) -> None:
    layer = nn.Dropout(p).eval()
    ones = torch.ones(1, 10)
    found = []
    for seed in range(2000):
        with thinned(layer, seed, shared="tiles"):
            found.append(layer(ones)[0].numpy())
    kept = np.stack(found) > 0
    error = np.sqrt(p * (1 - p) / len(kept))
    assert (np.abs(kept.mean(axis=0) - (1 - p)) <= 5 * error).all()
    if p < 1:
        assert np.stack(found).mean() == pytest.approx(1, abs=5 * error / (1 - p))
    together = np.corrcoef(kept[:, 0], kept[:, 1])[0, 1] if p < 1 else 0
    assert abs(together) < 0.12


def test_layers_of_one_network_drop_apart() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).eval()
    with thinned(network, 3, shared="tiles"):
        first = network[0](torch.ones(1, 64))
        second = network[1](torch.ones(1, 64))
    assert not torch.equal(first, second)


def test_a_pass_that_fails_leaves_the_network_as_it_was() -> None:
    layer = nn.Dropout(0.5).eval()
    with pytest.raises(KeyError), thinned(layer, 0, shared="tiles"):
        raise KeyError
    assert torch.equal(layer(torch.ones(1, 64)), torch.ones(1, 64))
