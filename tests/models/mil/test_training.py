"""Bags in the training loop: what is learnt, that it repeats, and what memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import TileError
from models.mil.networks import GatedAttentionNetwork
from models.mil.training import BagTask, BagTrainer, predict
from models.noise.methods import METHODS
from models.noise.objectives import AnnotatorLayer, CrossEntropy, one_hot
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.models.noise.studies import targets_of

N, FEATURES, CLASSES = 60, 5, 3
SETTINGS = TrainingSettings(epochs=15, batch=8, learning_rate=0.02, ahead=0)


@pytest.fixture
def bags() -> list[np.ndarray]:
    """Bags of 1 to 7 tiles; of class c one tile is marked in feature c."""
    rng = np.random.default_rng(0)
    made = [rng.normal(0, 0.3, (rng.integers(1, 8), FEATURES)) for _ in range(N)]
    for number, bag in enumerate(made):
        bag[rng.integers(len(bag)), number % CLASSES] += 3
    return [bag.astype(np.float32) for bag in made]


TRUTH = np.arange(N) % CLASSES


def network() -> GatedAttentionNetwork:
    return GatedAttentionNetwork(features=FEATURES, classes=CLASSES, hidden=16, attention=8)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_bags_that_can_be_told_apart(name, bags):
    votes = np.tile(TRUTH[:, None], (1, 3))
    part = np.where(np.arange(N) < 45, "train", "test")
    targets = targets_of(votes, part=part)
    trainer = BagTrainer(bags, network, SETTINGS)
    learned = METHODS[name](targets, trainer)
    found = trainer.predict(learned.model, np.arange(45, N))
    assert (found.argmax(axis=1) == TRUTH[45:]).mean() > 0.9
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(bags):
    targets = targets_of(np.tile(TRUTH[:, None], (1, 3)))

    def weights(seed: int) -> torch.Tensor:
        settings = TrainingSettings(epochs=2, batch=8, seed=seed)
        model = METHODS["majority"](targets, BagTrainer(bags, network, settings)).model
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_predictions_do_not_depend_on_which_bags_come_together(bags):
    torch.manual_seed(0)
    made = network()
    items = np.array([3, 41, 7, 12, 30])
    alone = predict(made, bags, items)
    np.testing.assert_allclose(predict(made, bags, items, batch=3), alone, atol=1e-6)
    np.testing.assert_allclose(predict(made, bags, items[::-1], batch=4)[::-1], alone, atol=1e-6)


def test_what_an_objective_learns_stays_with_its_stage(bags):
    start = np.tile(0.25 + 0.25 * np.eye(CLASSES), (2, 1, 1))
    objective = AnnotatorLayer(
        one_hot(TRUTH, CLASSES),
        np.ones(N),
        votes=np.tile(TRUTH[:, None], (1, 2)),
        decided=np.zeros(N, dtype=bool),
        start=start,
        trace_weight=0.0,
    )
    BagTrainer(bags, network, SETTINGS).fit("final", objective, np.arange(N))
    np.testing.assert_allclose(objective.confusion.detach().numpy(), start, atol=1e-6)
    task = BagTask(network(), objective, bags, np.arange(N))
    fit(task, SETTINGS)
    assert np.diagonal(objective.confusion.detach().numpy(), axis1=1, axis2=2).min() > 0.8


def test_an_empty_bag_is_named_and_figures_of_validation_reach_the_history(bags):
    objective = CrossEntropy(one_hot(TRUTH, CLASSES), np.ones(N))
    told = BagTask(
        network(), objective, bags, np.arange(N), validation=lambda model: {"tiles": 1.0}
    )
    history = fit(told, TrainingSettings(epochs=1, batch=8, ahead=0))
    assert history.epochs[0].metrics == {"tiles": 1.0}
    bags[5] = bags[5][:0]
    names = [f"S{number}" for number in range(N)]
    with pytest.raises(TileError, match="bag S5 has no tile"):
        fit(BagTask(network(), objective, bags, np.arange(N), names=names), SETTINGS)


# A bag of many tiles in a process of its own, whose peak is what the step took.
STEP = """
import json, pathlib, sys
import torch
from models.architectures import build
from models.mil.memory import memory_estimate
torch.set_num_threads(1)
name, tiles, chunk, training, two_bytes = json.loads(sys.argv[1])
def step(network, optimizer, bag):
    if training:
        optimizer.zero_grad(set_to_none=True)
        network.loss(bag, None, lambda logs: -logs[:, 1].mean(), torch.tensor([[0.0, 1.0]])).backward()
        optimizer.step()
    else:
        with torch.no_grad():
            network(bag)
def peak():  # of this process alone: ru_maxrss begins with what the parent had
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
small = build(name, {"features": 8, "classes": 2, "hidden": 8})
step(small, torch.optim.AdamW(small.parameters(), fused=True), torch.rand(1, 40, 8))
before = peak()
network = build(name, {"features": 512, "classes": 2, "chunk_tiles": chunk})
kind = torch.float16 if two_bytes else torch.float32
bag = torch.full((1, tiles, 512), 0.5, dtype=kind)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
step(network, optimizer, bag)
estimate = memory_estimate(
    network, tiles=tiles, training=training, feature_bytes=2 if two_bytes else 4
)
print(json.dumps([peak() - before, estimate]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("name", "tiles", "chunk", "training", "two_bytes"),
    [
        ("abmil", 100_000, 4096, False, True),
        ("abmil", 40_000, 4096, True, False),
        ("clam-sb", 20_000, 20_000, True, False),
    ],
)
def test_the_estimate_of_memory_is_what_a_step_takes(name, tiles, chunk, training, two_bytes):
    told = json.dumps([name, tiles, chunk, training, two_bytes])
    done = subprocess.run(
        [sys.executable, "-c", STEP, told], capture_output=True, text=True, check=True
    )
    measured, estimate = json.loads(done.stdout)
    assert 0.7 < estimate / measured < 2.2
    unchunked = tiles * 4 * (512 + 3 * 512)
    if chunk < tiles:
        assert measured < unchunked
