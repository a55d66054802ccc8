"""Bags in chunks, padded or in another order are the same bags: in value and in gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from annotation.errors import InputError
from models.architectures import build
from models.errors import TileError
from models.mil.bags import padded
from models.mil.networks import BagClassifier, GatedAttentionNetwork

FEATURES, CLASSES = 6, 3
POOLED = ("abmil", "clam-sb", "max", "mean")


def network(name: str, *, seed: int = 0, **given: object) -> BagClassifier:
    """A small one with dropout off, in double precision."""
    torch.manual_seed(seed)
    arguments = {"features": FEATURES, "classes": CLASSES, "hidden": 8, "dropout": 0.0, **given}
    made = build(name, arguments).double()
    assert isinstance(made, BagClassifier)
    return made


def bags(count: int, tiles: int, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, tiles, FEATURES, generator=draws, dtype=torch.float64)


LABELS = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def gradients(made: BagClassifier, tiles: torch.Tensor, mask: torch.Tensor | None = None):
    """Loss and gradients of one step."""
    made.zero_grad()
    labels = LABELS[: len(tiles)]
    loss = made.loss(tiles, mask, lambda logs: -(labels * logs).sum(dim=1).mean(), labels)
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in made.parameters())]


def assert_same(one, other, **limits):
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, **limits)


@pytest.mark.parametrize("name", POOLED)
@pytest.mark.parametrize("head", ["nominal", "ordinal"])
@settings(max_examples=8)
@given(tiles=st.integers(1, 25), chunk=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_bag_in_chunks_has_the_value_and_the_gradient_of_the_whole_bag(
    name, head, tiles, chunk, seed
):
    whole = network(name, seed=seed, head=head, chunk_tiles=1000)
    in_chunks = network(name, seed=seed, head=head, chunk_tiles=chunk)
    given_bags = bags(2, tiles, seed)
    assert_same(
        gradients(in_chunks, given_bags), gradients(whole, given_bags), atol=1e-9, rtol=1e-7
    )
    with torch.no_grad():
        torch.testing.assert_close(in_chunks(given_bags), whole(given_bags), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", POOLED)
@settings(max_examples=8)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    extra=st.integers(1, 20),
    chunk=st.integers(2, 30),
)
def test_padding_changes_neither_value_nor_gradient(name, sizes, extra, chunk):
    made = network(name, chunk_tiles=chunk)
    each = [bags(1, size, seed)[0] for seed, size in enumerate(sizes)]
    together = torch.full((len(sizes), max(sizes) + extra, FEATURES), 1e3, dtype=torch.float64)
    mask = torch.zeros(together.shape[:2], dtype=torch.bool)
    for row, bag in enumerate(each):
        together[row, : len(bag)] = bag
        mask[row, : len(bag)] = True
    with torch.no_grad():
        alone = torch.cat([made(bag.unsqueeze(0)) for bag in each])
        torch.testing.assert_close(made(together, mask), alone, atol=1e-9, rtol=1e-7)
    tight = together[:, : max(sizes)], mask[:, : max(sizes)]
    assert_same(gradients(made, together, mask), gradients(made, *tight), atol=1e-9, rtol=1e-7)
    for gradient in gradients(made, together, mask):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", POOLED)
def test_the_order_of_tiles_means_nothing(name):
    made = network(name)
    given_bags = bags(2, 15)
    turned = given_bags[:, torch.randperm(15, generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        torch.testing.assert_close(made(turned), made(given_bags), atol=1e-9, rtol=1e-7)


def test_attention_sums_to_one_is_nothing_where_no_tile_is_and_makes_the_result():
    made = network("abmil", chunk_tiles=4)
    assert isinstance(made, GatedAttentionNetwork)
    given_bags = bags(2, 10)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[1, 6:] = False
    weights = made.attention(given_bags, mask)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, dtype=torch.float64))
    assert (weights[1, 6:] == 0).all()
    with torch.no_grad():
        by_hand = made.head((weights.unsqueeze(-1) * made.embed(given_bags)).sum(dim=1))
        torch.testing.assert_close(made(given_bags, mask), by_hand, atol=1e-9, rtol=1e-7)


def test_scores_far_apart_neither_overflow_nor_lose_the_largest():
    made = network("abmil", chunk_tiles=3)
    with torch.no_grad():
        made.pooling.score.weight.mul_(1e6)
        weights = made.attention(bags(1, 12))
    assert weights.max() == pytest.approx(1.0, abs=1e-6)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(made, bags(1, 12)))


def test_the_mean_and_the_largest_are_those_of_the_embedded_tiles():
    given_bags = bags(2, 11)
    for name, reduce in (("mean", lambda h: h.mean(dim=1)), ("max", lambda h: h.amax(dim=1))):
        made = network(name, chunk_tiles=4)
        with torch.no_grad():
            expected = made.head(reduce(made.embed(given_bags)))
            torch.testing.assert_close(made(given_bags), expected, atol=1e-9, rtol=1e-7)


def test_features_of_half_precision_are_taken():
    made = network("abmil", chunk_tiles=4).float()
    given_bags = bags(2, 9).half()
    with torch.no_grad():
        torch.testing.assert_close(made(given_bags), made(given_bags.float()))


def test_tiles_by_themselves_are_a_network_of_two_layers_and_no_bags():
    made = network("tile-mlp")
    tiles = bags(5, 1)
    with torch.no_grad():
        hidden = functional.relu(made.embed.linear(tiles[:, 0]))
        expected = functional.log_softmax(made.head.linear(hidden), dim=1)
        torch.testing.assert_close(made(tiles), expected)
    with pytest.raises(InputError, match="a bag holds 4; give one tile an item"):
        made(bags(1, 4))


def test_dropout_acts_in_training_alone():
    made = network("abmil", dropout=0.5)
    given_bags = bags(1, 5)
    with torch.no_grad():
        assert not torch.equal(made(given_bags), made(given_bags))
        made.eval()
        torch.testing.assert_close(made(given_bags), made(given_bags))


def test_bags_are_padded_to_the_largest_and_equal_ones_need_no_mask():
    together, mask = padded([np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)])
    assert together.shape == (2, 4, 3)
    assert mask is not None
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert together[0, 2:].abs().sum() == 0
    assert padded([np.ones((2, 3), np.float32)] * 2)[1] is None


def test_an_empty_bag_and_other_features_are_refused_by_name():
    full = np.ones((2, 3), np.float32)
    with pytest.raises(TileError, match="bag S2 has no tile"):
        padded([full, full[:0]], ["S1", "S2"])
    with pytest.raises(TileError, match="bag S2 has 5 features a tile, and the first one 3"):
        padded([full, np.ones((2, 5), np.float32)], ["S1", "S2"])


def test_no_chunk_without_a_tile():
    with pytest.raises(InputError, match="at least one tile at once"):
        network("abmil", chunk_tiles=0)
