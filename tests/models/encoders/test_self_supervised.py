"""The encoder that learns from one's own tiles: its loss, its views, and its collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.encoders import self_supervised
from models.encoders.built_in import SELF_SUPERVISED
from models.encoders.self_supervised import (
    Spread,
    require_spread,
    spread_of,
    train_encoder,
    vicreg_loss,
)
from models.encoders.views import random_views, turned
from models.encoders.weights import digest_of
from models.errors import TrainingError

SPEC = replace(SELF_SUPERVISED, input_px=32, arguments={"width": 4})


def patches(count: int = 160, kinds: int = 4, size_px: int = 32) -> np.ndarray:
    """Tiles of a few colours and grains."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 220, (kinds, 3))
    made = []
    for number in range(count):
        kind = number % kinds
        grain = 2 ** (kind % 3)
        noise = rng.normal(0, 30, (size_px // grain, size_px // grain, 3))
        made.append(colours[kind] + noise.repeat(grain, 0).repeat(grain, 1))
    return np.clip(np.stack(made), 0, 255).astype(np.uint8)


@given(seed=st.integers(0, 999), rows=st.integers(2, 6), columns=st.integers(1, 5))
def test_the_loss_is_the_papers_term_by_term(seed: int, rows: int, columns: int) -> None:
    torch.manual_seed(seed)
    first, second = torch.randn(2, rows, columns).double()
    expected = 25 * float(((first - second) ** 2).mean())
    for z in (first.numpy(), second.numpy()):
        c = np.atleast_2d(np.cov(z, rowvar=False))
        expected += 25 * np.mean([max(0.0, 1 - np.sqrt(c[j, j] + 1e-4)) for j in range(columns)])
        expected += (
            sum(c[i, j] ** 2 for i in range(columns) for j in range(columns) if i != j) / columns
        )
    assert float(vicreg_loss(first, second)) == pytest.approx(expected, rel=1e-9)


def test_the_loss_is_least_where_views_agree_vary_and_do_not_repeat() -> None:
    torch.manual_seed(0)
    good = torch.linalg.qr(torch.randn(64, 8) - 0.0)[0]
    good = (good - good.mean(0)) * 20
    collapsed, repeated = torch.ones(64, 8), good[:, :1].expand(64, 8)
    best = vicreg_loss(good, good)
    for other in (collapsed, repeated):
        assert vicreg_loss(other, other) > best + 1
    assert vicreg_loss(good, good.flip(0)) > best + 1


def test_views_show_the_tile_and_follow_from_the_generator() -> None:
    tiles = patches(8)
    first, again, other = (random_views(tiles, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (8, 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    # Stains are stronger or weaker, not others: a view has the colour of its tile, by and large.
    before = torch.from_numpy(tiles).float().mean(dim=(1, 2)) / 255
    assert float((first.mean(dim=(2, 3)) - before).abs().max()) < 0.3


def test_tiles_are_turned_and_mirrored_and_keep_their_pixels() -> None:
    tile = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    seen = {turned(tile, np.random.default_rng(seed)).tobytes() for seed in range(200)}
    wanted = set()
    for quarter in range(4):
        for mirrored in (tile[0], tile[0][:, ::-1]):
            wanted.add(np.rot90(mirrored, quarter).tobytes())
    assert seen == wanted


def test_training_brings_views_together_and_spreads_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "_FEWEST_STEPS", 40)
    tiles = patches()
    network, made_by = train_encoder(tiles, SPEC)
    assert made_by["tiles"] == 160
    assert made_by["rank"] > 3
    # Tiles of a kind end nearer to one another than to others.
    embedded = self_supervised._embedded(network, tiles, SPEC, torch.device("cpu"))
    kind = np.arange(len(tiles)) % 4
    distance = np.linalg.norm(embedded[:, None] - embedded[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert np.mean(kind[distance.argmin(axis=1)] == kind) > 0.9


def test_a_seed_decides_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "_FEWEST_STEPS", 3)
    monkeypatch.setattr(self_supervised, "_EPOCHS", 1)
    tiles = patches()
    first, again, other = (
        digest_of(train_encoder(tiles, SPEC, seed=s)[0].state_dict()) for s in (1, 1, 2)
    )
    assert first == again != other


def test_a_network_that_collapses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull_together(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first.square().mean() + second.square().mean()

    class Constant(torch.nn.Module):
        """What a collapsed network is."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight + 1e-4 * x.mean(dim=(2, 3)).repeat(1, 6)[:, :16]

    monkeypatch.setattr(self_supervised, "vicreg_loss", pull_together)
    monkeypatch.setattr(self_supervised, "_FEWEST_STEPS", 8)
    monkeypatch.setattr(self_supervised, "build_network", lambda _: Constant())
    with pytest.raises(TrainingError, match=r"has collapsed: its embeddings vary by 0\.00"):
        train_encoder(patches(), SPEC)


def test_spread_tells_points_and_lines_from_clouds() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(400, 10)).astype(np.float32)
    found = spread_of(cloud)
    assert found.rank == pytest.approx(10, abs=0.2)
    assert found.relative_std == pytest.approx(1, abs=0.01)
    line = (rng.normal(size=(400, 1)) * np.ones((1, 10)) + 5).astype(np.float32)
    assert spread_of(line).rank == pytest.approx(1, abs=0.01)
    assert spread_of(np.ones((9, 4), np.float32)).relative_std == 0
    assert spread_of(np.zeros((9, 4), np.float32)) == Spread(0, 0)
    require_spread(found)
    for collapsed in (line, np.ones((9, 4), np.float32)):
        with pytest.raises(TrainingError, match="take a pretrained encoder"):
            require_spread(spread_of(collapsed))


def test_too_few_tiles_are_refused() -> None:
    with pytest.raises(TrainingError, match="5 tiles are too few"):
        train_encoder(patches(5), SPEC)
