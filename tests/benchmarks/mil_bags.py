"""Real bags, ten-fold: MUSK1 and Elephant. And what training costs beside torchmil.

Settings are one set for all networks and both data sets, chosen before the first run: 64 hidden and
32 attention features, otherwise the defaults of networks and loop, batches of 8 bags, last
checkpoint. Features are standardised by the training folds. Five times ten stratified folds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures import build
from models.mil.networks import BagClassifier
from models.mil.training import BagTrainer, predict
from models.noise.objectives import CrossEntropy, one_hot
from models.training.settings import TrainingSettings
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["load", "run", "standardised"]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mil"
SETS = ("musk1", "elephant")
REPEATS, FOLDS = 5, 10
HIDDEN, ATTENTION, BATCH = 64, 32, 8
NETWORKS = ("abmil", "clam-sb", "mean", "max")

# A training of the same network, wall and CPU seconds of the training alone: what torch imports and
# sets up at its first step has been done before.
OURS = """
import json, sys, time
import torch
torch.set_num_threads(1)
from tests.benchmarks.mil_bags import BATCH, load, train
bags, labels = load(sys.argv[1])
train("abmil", bags, labels, range(BATCH), seed=0)
wall, cpu = time.perf_counter(), time.process_time()
train("abmil", bags, labels, range(len(bags)), seed=0)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""

# The same model, batches, optimiser and epochs with what torchmil brings; `sys.argv[2]` is the loop:
# torchmil's Trainer, which also goes through its validation bags each epoch, or a bare one.
TORCHMIL = """
import json, sys, time
import torch
torch.set_num_threads(1)
import tests.models.conftest  # a torchvision of another kind would not let torchmil be imported
from torch.utils.data import DataLoader
from torchmil.data import collate_fn
from torchmil.models import ABMIL
from torchmil.utils.trainer import Trainer
from models.training.settings import TrainingSettings
from tests.benchmarks.mil_bags import ATTENTION, BATCH, HIDDEN, load
settings = TrainingSettings()
bags, labels = load(sys.argv[1])
torch.manual_seed(0)
embed = torch.nn.Sequential(torch.nn.Linear(bags[0].shape[1], HIDDEN), torch.nn.ReLU())
model = ABMIL(in_shape=(bags[0].shape[1],), att_dim=ATTENTION, gated=True, feat_ext=embed)
items = [{"X": torch.from_numpy(bag), "Y": torch.tensor(float(label))}
         for bag, label in zip(bags, labels)]
batches = DataLoader(items, batch_size=BATCH, shuffle=True, collate_fn=collate_fn)
optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate,
                              weight_decay=settings.weight_decay)

def step(batch):
    optimizer.zero_grad()
    _, losses = model.compute_loss(batch["Y"], batch["X"], batch["mask"])
    sum(losses.values()).backward()
    optimizer.step()

step(next(iter(batches)))
wall, cpu = time.perf_counter(), time.process_time()
if sys.argv[2] == "trainer":
    Trainer(model, optimizer, device="cpu", disable_pbar=True, verbose=False).train(
        settings.epochs, batches)
else:
    for _ in range(settings.epochs):
        for batch in batches:
            step(batch)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""

# A step on one bag of 100,000 tiles with 1,024 features, by either.
LARGE = """
import json, sys, time
import torch
torch.set_num_threads(1)
from models.mil.networks import GatedAttentionNetwork
bag = torch.randn(1, 100_000, 1024, generator=torch.Generator().manual_seed(0))
if sys.argv[1] == "ours":
    network = GatedAttentionNetwork(features=1024, classes=2)
    step = lambda: -network(bag)[0, 1]
else:
    from torchmil.models import ABMIL
    embed = torch.nn.Sequential(torch.nn.Linear(1024, 512), torch.nn.ReLU())
    network = ABMIL(in_shape=(1024,), att_dim=128, gated=True, feat_ext=embed)
    step = lambda: network.compute_loss(torch.ones(1), bag)[1]["BCEWithLogitsLoss"]
wall, cpu = time.perf_counter(), time.process_time()
step().backward()
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


def load(name: str) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Bags, each of shape (tiles, features) and standardised over all, and labels (n,)."""
    table = np.loadtxt(DATA / f"{name}.csv", delimiter=",", dtype=np.float64)
    numbers = np.unique(table[:, 1])
    bags = [table[table[:, 1] == number] for number in numbers]
    labels = np.array([bag[0, 0] > 0 for bag in bags]).astype(np.int64)
    return standardised([bag[:, 2:] for bag in bags], range(len(bags))), labels


def standardised(
    bags: list[NDArray[np.float64]], by: NDArray[np.int64] | range
) -> list[NDArray[np.float32]]:
    """Features less their mean over the tiles of some bags, by their deviation there."""
    seen = np.concatenate([bags[item] for item in by])
    spread = seen.std(axis=0)
    return [
        ((bag - seen.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
        for bag in bags
    ]


def network_of(name: str, features: int) -> BagClassifier:
    """A network of the benchmark's size."""
    arguments = {"features": features, "classes": 2, "hidden": HIDDEN}
    if name in ("abmil", "clam-sb"):
        arguments["attention"] = ATTENTION
    network = build(name, arguments)
    assert isinstance(network, BagClassifier)
    return network


def train(
    name: str,
    bags: list[NDArray[np.float32]],
    labels: NDArray[np.int64],
    items: NDArray[np.int64] | range,
    *,
    seed: int,
) -> BagClassifier:
    """A network trained on some of the bags."""
    trainer = BagTrainer(
        bags,
        lambda: network_of(name, bags[0].shape[1]),
        TrainingSettings(batch=BATCH, seed=seed, ahead=0, deterministic=False),
    )
    objective = CrossEntropy(one_hot(labels, 2), np.ones(len(bags)))
    return trainer.fit("final", objective, np.asarray(items))


def _accuracies(name: str) -> dict[str, list[float]]:
    """Accuracy of each repeat by network; all bags are judged once a repeat."""
    from sklearn.model_selection import StratifiedKFold

    bags, labels = load(name)
    found: dict[str, list[float]] = {network: [] for network in NETWORKS}
    for repeat in range(REPEATS):
        right = {network: np.zeros(len(bags), dtype=bool) for network in NETWORKS}
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(labels, labels)
        for training, test in folds:
            scaled = standardised(bags, training)
            for network in NETWORKS:
                model = train(network, scaled, labels, training, seed=repeat)
                said = predict(model, scaled, test, batch=BATCH).argmax(axis=1)
                right[network][test] = said == labels[test]
        for network in NETWORKS:
            found[network].append(float(right[network].mean()))
    return found


def _inside(whole: Cost) -> Cost:
    """What the training took of a process that also starts and imports."""
    wall_s, cpu_s = json.loads(whole.printed)
    return Cost(wall_s, cpu_s, whole.peak_mb, whole.printed)


def run(folder: Path) -> None:
    """Train, measure and print; the folder is not used."""
    del folder
    if not DATA.is_dir():
        print(f"\nReal bags: skipped, {DATA.parent.name}/{DATA.name} is absent beside the project")
        return
    torch.set_num_threads(1)
    print(f"\nReal bags: accuracy, mean (s.e.) of {REPEATS} times {FOLDS}-fold cross-validation")
    columns = {name: _accuracies(name) for name in SETS}
    print(f"  {'':12}" + "".join(f"{name:>16}" for name in SETS))
    for network in NETWORKS:
        values = [np.array(columns[name][network]) for name in SETS]
        cells = [f"{v.mean():.3f} ({v.std(ddof=1) / np.sqrt(len(v)):.3f})" for v in values]
        print(f"  {network:12}" + "".join(f"{cell:>16}" for cell in cells))
    _print_speed()


def _print_speed() -> None:
    """What training costs, beside torchmil."""
    for name in SETS:
        rows = [
            ("torchmil's ABMIL and Trainer, one thread", TORCHMIL, "trainer"),
            ("torchmil's ABMIL, a bare loop", TORCHMIL, "bare"),
            ("ours", OURS, ""),
        ]
        costs = [(row, _inside(cost_of(code, name, way)), "") for row, code, way in rows]
        print_table(f"Training on all bags of {name}, {TrainingSettings().epochs} epochs", costs)
    print_table(
        "Value and gradient of one bag of 100,000 tiles, 1,024 features (410 MB)",
        [
            ("torchmil's ABMIL, one thread", _inside(cost_of(LARGE, "torchmil")), ""),
            ("ours, in chunks", _inside(cost_of(LARGE, "ours")), ""),
        ],
    )
