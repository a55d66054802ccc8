"""The noise benchmark's data, raters, seeds and gates. Frozen: this file was committed before any
method that it judges was written, and its SHA-256 is printed with every result.

Bags hold real images of handwritten digits (scikit-learn's 1,797 of 8 x 8 pixels). A bag's grade, 0
to 3, is that of the gravest digit in it: 8 is of grade 1, 3 of grade 2, 9 of grade 3; all others are
of grade 0. Hard bags hold one digit of their grade, easy ones three. Training and test bags draw from
disjoint digits.

Each bag is labelled by three of six raters, drawn at random. A rater is a confusion matrix; in hard
bags errors are 1.6 times, in easy ones 0.4 times as likely. Raters of one bag err together: what each
says comes from a uniform number, and these are tied by a Gaussian copula.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

GRADES = 4
RATERS = 6
LABELS_PER_BAG = 3
SEEDS = tuple(range(30))
TRAINING_BAGS = 400
TEST_BAGS = 800
BAG_SIZE = 12
GRADE_SHARES = (0.35, 0.30, 0.20, 0.15)
GRADE_OF_DIGIT = {8: 1, 3: 2, 9: 3}
TRAINING_SHARE = 0.6
HARD, EASY = 1.6, 0.4

EPOCHS = 40
BATCH = 32
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
HIDDEN = 64
ATTENTION = 32
FOLDS = 5


@dataclass(frozen=True)
class Regime:
    """How six raters label.

    Attributes
    ----------
    confusion : shape (6, 4, 4)
        Of each rater: true grade by said grade, over hard and easy bags together.
    correlation
        Of the Gaussian copula between the raters of one bag.
    kappa
        The mean pairwise quadratic kappa that this gives, over 200,000 bags that all six label.
    """

    confusion: NDArray[np.float64]
    correlation: float
    kappa: float


def _reader(under: float, over: float) -> list[list[float]]:
    """A rater who reads one grade too low, or too high, this often; two grades, a tenth as often."""
    rows = np.zeros((GRADES, GRADES))
    for grade in range(GRADES):
        for step, share in ((-1, under), (-2, under / 10), (1, over), (2, over / 10)):
            if 0 <= grade + step < GRADES:
                rows[grade, grade + step] = share
        rows[grade, grade] = 1 - rows[grade].sum()
    return rows.tolist()


# Dawid-Skene (maximum likelihood, start from vote shares) on 118 slides x pathologists A, B, C, E, F
# and G of Landis & Koch 1977, grades 4 and 5 merged, each row smoothed by a tenth of a slide a cell.
_CARCINOMA: list[list[list[float]]] = [
    [
        [0.8068, 0.1863, 0.0035, 0.0034],
        [0.0777, 0.6703, 0.2131, 0.0389],
        [0.0022, 0.0307, 0.7039, 0.2632],
        [0.0065, 0.0065, 0.0065, 0.9805],
    ],
    [
        [0.8808, 0.0644, 0.0514, 0.0034],
        [0.0362, 0.3214, 0.6389, 0.0035],
        [0.0022, 0.0242, 0.9714, 0.0022],
        [0.0065, 0.0065, 0.3353, 0.6517],
    ],
    [
        [0.7564, 0.2368, 0.0034, 0.0034],
        [0.2329, 0.7601, 0.0035, 0.0035],
        [0.0243, 0.2923, 0.6785, 0.0049],
        [0.071, 0.0065, 0.4076, 0.5149],
    ],
    [
        [0.5088, 0.4839, 0.0039, 0.0034],
        [0.0378, 0.5466, 0.3445, 0.0711],
        [0.0022, 0.0249, 0.8672, 0.1057],
        [0.0065, 0.0065, 0.2492, 0.7378],
    ],
    [
        [0.9898, 0.0034, 0.0034, 0.0034],
        [0.7334, 0.2596, 0.0035, 0.0035],
        [0.1536, 0.5206, 0.3146, 0.0112],
        [0.3113, 0.0065, 0.3796, 0.3026],
    ],
    [
        [0.9848, 0.0084, 0.0034, 0.0034],
        [0.1023, 0.6708, 0.2234, 0.0035],
        [0.0022, 0.0146, 0.959, 0.0242],
        [0.0065, 0.0065, 0.7225, 0.2645],
    ],
]

REGIMES = {
    "clean": Regime(np.array([_reader(0.0, 0.0)] * RATERS), 0.0, 1.0),
    "mild": Regime(np.array([_reader(0.095, 0.095)] * RATERS), 0.0, 0.850),
    "biased": Regime(
        np.array(
            [
                _reader(0.55, 0.01),
                _reader(0.55, 0.01),
                _reader(0.01, 0.40),
                _reader(0.087, 0.087),
                _reader(0.087, 0.087),
                _reader(0.087, 0.087),
            ]
        ),
        0.5,
        0.780,
    ),
    "carcinoma": Regime(np.array(_CARCINOMA), 0.0, 0.649),
}


@dataclass(frozen=True)
class Gate:
    """What the paired bootstrap over seeds (10,000 draws, 95 %, percentile) is held against.

    ``of`` minus ``over``, in balanced accuracy on the test bags, must have its lower bound above
    ``above``, or its whole interval within plus or minus ``within``.
    """

    of: str
    over: str
    regime: str
    above: float | None = None
    within: float | None = None


PRIMARY = Gate("em-net", "majority cross-entropy", "biased", above=0.03)
GATES = (
    PRIMARY,
    Gate("em-net", "em-net, raters shuffled", "biased", above=0.02),
    Gate("em-net", "majority cross-entropy", "clean", within=0.01),
)
BOOTSTRAP_DRAWS = 10_000
BOOTSTRAP_SEED = 20_260

SEGMENTATION_SEEDS = (0, 1, 2, 3, 4)
SEGMENTATION_TRAINING_SLIDES = 16
SEGMENTATION_TEST_SLIDES = 8
SEGMENTATION_MPP = 4.0
SEGMENTATION_TILE_PX = 128
SEGMENTATION_STEPS = 400
"""Slides and raters are those of the demo (`annotation.demo`): four with known habits. The test is
Dice against the drawn truth, mean over grades, of a U-Net trained on each kind of target."""


@dataclass(frozen=True)
class Bags:
    """Bags and what raters said of them.

    Attributes
    ----------
    images : shape (n, 12, 64), 0 to 1
    grades : shape (n,)
        The truth, for the test alone.
    votes : shape (n, 6)
        What each rater said; -1 where they were not asked.
    """

    images: NDArray[np.float32]
    grades: NDArray[np.int64]
    votes: NDArray[np.int64]


def draw(regime: str, seed: int) -> tuple[Bags, Bags]:
    """The training and the test bags of one seed."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(digits))
    cut = int(TRAINING_SHARE * len(digits))
    return tuple(
        _bags(images[own], digits[own], count, REGIMES[regime], np.random.default_rng([seed, part]))
        for part, own, count in ((2, order[:cut], TRAINING_BAGS), (3, order[cut:], TEST_BAGS))
    )


def _bags(
    images: NDArray[np.float32],
    digits: NDArray[np.int64],
    count: int,
    regime: Regime,
    rng: np.random.Generator,
) -> Bags:
    grade_of = np.array([GRADE_OF_DIGIT.get(digit, 0) for digit in range(10)])[digits]
    of_grade = [np.flatnonzero(grade_of == grade) for grade in range(GRADES)]
    grades = rng.choice(GRADES, size=count, p=GRADE_SHARES)
    hard = rng.random(count) < 0.5
    members = np.empty((count, BAG_SIZE), dtype=np.int64)
    for bag, grade in enumerate(grades):
        keys = 0 if grade == 0 else 1 if hard[bag] else 3
        lesser = int(rng.integers(0, 3)) if grade > 1 else 0
        parts = [
            rng.choice(of_grade[grade], keys),
            rng.choice(of_grade[max(grade - 1, 0)], lesser),
            rng.choice(of_grade[0], BAG_SIZE - keys - lesser),
        ]
        members[bag] = rng.permutation(np.concatenate(parts))
    said = vote(grades, hard, regime, rng)
    asked = np.argsort(rng.random((count, RATERS)), axis=1) < LABELS_PER_BAG
    return Bags(images[members], grades, np.where(asked, said, -1))


def vote(
    grades: NDArray[np.int64],
    hard: NDArray[np.bool_],
    regime: Regime,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """What all six raters say: shape (n, 6)."""
    count = len(grades)
    common = rng.standard_normal((count, 1)) * np.sqrt(regime.correlation)
    own = rng.standard_normal((count, RATERS)) * np.sqrt(1 - regime.correlation)
    uniform = ndtr(common + own)
    said = np.empty((count, RATERS), dtype=np.int64)
    factor = np.where(hard, HARD, EASY)
    for rater in range(RATERS):
        rows = regime.confusion[rater][grades] * factor[:, None]
        right = np.arange(count), grades
        rows[right] = 0
        rows /= np.maximum(rows.sum(axis=1, keepdims=True), 1)  # errors never exceed certainty
        rows[right] = 1 - rows.sum(axis=1)
        said[:, rater] = np.minimum(
            (uniform[:, [rater]] > np.cumsum(rows, axis=1)).sum(axis=1), GRADES - 1
        )
    return said


def shuffled(votes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The same votes of each bag under raters drawn anew: who said it is lost, what was said is not."""
    return np.random.default_rng([seed, 4]).permuted(votes, axis=1)


def majority(votes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The grade that most of a bag's raters said, ties drawn at random: shape (n,)."""
    counts = (votes[:, :, None] == np.arange(GRADES)).sum(axis=1)
    drawn = np.random.default_rng([seed, 5]).random(counts.shape)
    return np.argmax(counts + 0.5 * drawn, axis=1)


def sha256() -> str:
    """The digest of this file."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
