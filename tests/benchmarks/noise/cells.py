"""All methods on one seed of one regime: what is trained, on what, and how it is judged.

Parameters of the methods are the defaults in `models/noise`, which were committed before the first
run. Nothing is chosen by the truth: the last checkpoint is judged, once, on the test bags.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from consensus.agreement import agreement
from consensus.fusion import dawid_skene
from consensus.fusion import majority as vote_shares
from consensus.ratings import Ratings
from models.mil.networks import BagClassifier, GatedAttentionNetwork
from models.mil.training import BagTrainer, predict
from models.noise.methods import method_named
from models.targets import Targets
from models.training.settings import TrainingSettings
from tests.benchmarks.noise import frozen

__all__ = ["Cell", "balanced_accuracy", "run_cell", "settings_of"]

RATER_NAMES = tuple("ABCDEF")
GRADE_NAMES = tuple("0123")
RATERS_DIFFER = ("biased", "carcinoma")
"""Where it means something to shuffle who said what; elsewhere all raters are alike."""


@dataclass(frozen=True)
class Cell:
    """What one seed of one regime gave.

    Attributes
    ----------
    accuracy
        Balanced accuracy on the test bags, by method.
    raters
        The same of each rater, over the test bags that they labelled.
    kappa
        Mean pairwise quadratic kappa of the training labels.
    label_accuracy
        Part of the training bags whose label is right, before training and, of EM-net, after its
        round. Nothing is chosen by it.
    cpu_s
        Of it all.
    """

    regime: str
    seed: int
    accuracy: dict[str, float]
    raters: list[float]
    kappa: float
    label_accuracy: dict[str, float]
    cpu_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def settings_of(seed: int) -> TrainingSettings:
    """The frozen settings; what they leave open is the loop's default."""
    return TrainingSettings(
        epochs=frozen.EPOCHS,
        batch=frozen.BATCH,
        learning_rate=frozen.LEARNING_RATE,
        weight_decay=frozen.WEIGHT_DECAY,
        seed=seed,
        ahead=0,
        deterministic=False,  # on one thread the processor gives the same anyway
    )


def balanced_accuracy(truth: NDArray[np.int64], said: NDArray[np.int64]) -> float:
    """Mean over grades of the part that was recognised."""
    return float(np.mean([(said[truth == grade] == grade).mean() for grade in np.unique(truth)]))


def run_cell(regime: str, seed: int) -> Cell:
    """Train and judge every method."""
    torch.set_num_threads(1)
    start_s = time.process_time()
    training, test = frozen.draw(regime, seed)
    hard = frozen.majority(training.votes, seed)
    ratings = _ratings(training.votes)
    dawid = dawid_skene(ratings).posterior
    trainer = BagTrainer(training.images, _network, settings_of(seed))
    accuracy: dict[str, float] = {}
    labels: dict[str, float] = {
        "majority": _right(hard, training.grades),
        "Dawid-Skene": _right(dawid.argmax(axis=1), training.grades),
    }
    for name, method, targets in _arms(regime, seed, training.votes, hard, ratings, dawid):
        learned = method_named(method)(targets, trainer, seed=seed)
        found = predict(learned.model, test.images, np.arange(len(test.images)), batch=100)
        accuracy[name] = balanced_accuracy(test.grades, found.argmax(axis=1))
        if name == "em-net":
            labels[name] = _right(learned.labels.argmax(axis=1), training.grades)
    return Cell(
        regime=regime,
        seed=seed,
        accuracy=accuracy,
        raters=[
            balanced_accuracy(test.grades[said >= 0], said[said >= 0]) for said in test.votes.T
        ],
        kappa=_kappa(ratings),
        label_accuracy=labels,
        cpu_s=time.process_time() - start_s,
    )


def _arms(
    regime: str,
    seed: int,
    votes: NDArray[np.int64],
    hard: NDArray[np.int64],
    ratings: Ratings,
    dawid: NDArray[np.float64],
) -> Iterator[tuple[str, str, Targets]]:
    """Rows of the table: their name, the method, and what it learns from."""
    targets = _targets(votes, hard, dawid)
    yield "majority cross-entropy", "majority", targets
    yield "soft, vote shares", "soft", _targets(votes, hard, vote_shares(ratings).posterior)
    yield "soft, Dawid-Skene", "soft", targets
    for method in ("em-net", "annotator-layer", "gce", "label-smoothing", "ousm"):
        yield method, method, targets
    if regime in RATERS_DIFFER:
        anyone = frozen.shuffled(votes, seed)
        yield "em-net, raters shuffled", "em-net", _targets(anyone, hard, dawid)


def _network() -> BagClassifier:
    return GatedAttentionNetwork(
        features=64, classes=frozen.GRADES, hidden=frozen.HIDDEN, attention=frozen.ATTENTION
    )


def _targets(
    votes: NDArray[np.int64], hard: NDArray[np.int64], posterior: NDArray[np.float64]
) -> Targets:
    n = len(votes)
    return Targets(
        posterior=posterior.astype(np.float32),
        hard=hard,
        votes=votes,
        weight=np.ones(n, dtype=np.float32),
        group=np.arange(n),
        site=np.zeros(n, dtype=np.int64),
        part=np.full(n, "train"),
        classes=GRADE_NAMES,
        ordered=True,
        raters=RATER_NAMES,
    )


def _ratings(votes: NDArray[np.int64]) -> Ratings:
    bag, rater = np.nonzero(votes >= 0)
    return Ratings.from_table(
        bag, np.array(RATER_NAMES)[rater], votes[bag, rater], classes=range(4)
    )


def _kappa(ratings: Ratings) -> float:
    value = agreement(ratings, weights="quadratic").coefficients["cohen_mean"].value
    assert value is not None
    return value


def _right(labels: NDArray[np.int64], grades: NDArray[np.int64]) -> float:
    return float((labels == grades).mean())
