"""What each method asks of its trainer: which items, which labels, in which stages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import InputError
from models.errors import TrainingError
from models.noise.folds import folds_of
from models.noise.methods import METHODS, label_smoothing, method_named, ousm
from models.noise.objectives import AnnotatorLayer, GeneralisedCrossEntropy
from models.noise.raters import estimate_raters
from models.targets import OPEN
from tests.models.noise.studies import N_CLASSES, Clerk, study, targets_of


def clerk(n: int, seed: int = 0) -> Clerk:
    return Clerk(np.random.default_rng(seed).dirichlet(np.ones(N_CLASSES), n))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_from_the_training_part_alone_and_ends_with_its_final_stage(name):
    targets, _ = study(60)
    part = np.where(np.arange(60) < 40, "train", "test")
    weight = np.ones(60, dtype=np.float32)
    weight[3] = 0
    trainer = clerk(60)
    limited = targets_of(targets.votes, part=part, weight=weight)
    learned = METHODS[name](limited, trainer)
    assert trainer.stages[-1].stage == "final"
    assert learned.model == len(trainer.stages) - 1
    seen = np.concatenate([told.items for told in trainer.stages])
    assert set(seen.tolist()) <= set(range(40)) - {3}
    np.testing.assert_allclose(learned.labels.sum(axis=1), 1, atol=1e-6)
    assert len(learned.labels) == len(learned.items)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_cross_fitted_and_two_are_anyway(name):
    """By whole groups; the items of a fold take no part in what predicts them."""
    targets, _ = study(60)
    alone, trainer = clerk(60), clerk(60)
    assert (METHODS[name](targets, alone).out_of_fold is None) == (name not in ("em-net", "ousm"))
    found = METHODS[name](targets, trainer, n_folds=3, seed=5).out_of_fold
    assert found is not None
    np.testing.assert_array_equal(found.folds, folds_of(targets.group[found.items], 3, 5))
    assert found.probabilities.shape == (len(found.items), N_CLASSES)
    stages = {told.stage: told.items for told in trainer.stages}
    assert set(stages) == {"final", *(f"fold-{one}-of-3" for one in (1, 2, 3))}
    for fold in range(3):
        learnt_from = stages[f"fold-{fold + 1}-of-3"]
        np.testing.assert_array_equal(np.sort(learnt_from), found.items[found.folds != fold])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_again(name):
    targets, _ = study(60, 1)
    first, second = clerk(60), clerk(60)
    one, other = METHODS[name](targets, first, seed=3), METHODS[name](targets, second, seed=3)
    np.testing.assert_array_equal(one.labels, other.labels)
    for told, again in zip(first.stages, second.stages, strict=True):
        assert told.stage == again.stage
        np.testing.assert_array_equal(told.items, again.items)


def test_the_majority_leaves_open_items_out_and_the_posterior_takes_them_in():
    targets, _ = study(30)
    hard = targets.hard.copy()
    hard[:7] = OPEN
    tied = targets_of(targets.votes, hard=hard)
    trainer = clerk(30)
    METHODS["majority"](tied, trainer)
    METHODS["soft"](tied, trainer)
    np.testing.assert_array_equal(trainer.stages[0].items, np.arange(7, 30))
    np.testing.assert_array_equal(trainer.stages[1].items, np.arange(30))
    np.testing.assert_allclose(
        trainer.stages[1].objective.labels.numpy(), targets.posterior, atol=1e-7
    )


def test_label_smoothing_of_nothing_is_the_majority():
    targets, _ = study(30)
    trainer = clerk(30)
    METHODS["majority"](targets, trainer)
    label_smoothing(targets, trainer, smoothing=0.0)
    label_smoothing(targets, trainer, smoothing=0.3)
    plain, none, some = (told.objective.labels.numpy() for told in trainer.stages)
    np.testing.assert_array_equal(plain, none)
    np.testing.assert_allclose(some.max(axis=1), 0.7 + 0.1, atol=1e-6)


def test_gce_and_the_annotator_layer_bring_their_published_parameters():
    targets, _ = study(60)
    trainer = clerk(60)
    METHODS["gce"](targets, trainer)
    METHODS["annotator-layer"](targets, trainer)
    of_gce, layer = (told.objective for told in trainer.stages)
    assert isinstance(of_gce, GeneralisedCrossEntropy)
    assert of_gce.q == 0.7
    assert isinstance(layer, AnnotatorLayer)
    assert layer.trace_weight == 0.01
    start = estimate_raters(targets, np.arange(60)).confusion
    np.testing.assert_allclose(layer.confusion.detach().numpy(), start, rtol=1e-4)


def test_ousm_drops_the_stated_share_and_of_all_items_those_least_believed():
    targets, _ = study(50, 2)
    trainer = clerk(50, 2)
    learned = ousm(targets, trainer, share=0.2)
    believed = trainer.predictions[np.arange(50), targets.hard]
    assert len(learned.items) == 40
    assert learned.told["dropped"] == 10
    left_out = np.setdiff1d(np.arange(50), learned.items)
    assert believed[left_out].max() <= believed[learned.items].min()


def test_em_net_cross_fits_over_patients_and_learns_from_both_raters_and_classifier():
    targets, truth = study(90, 3, patients=15)
    trainer = Clerk(0.05 + 0.85 * np.eye(N_CLASSES)[truth])
    learned = METHODS["em-net"](targets, trainer)
    assert [told.stage for told in trainer.stages] == [
        *(f"fold-{fold}-of-5" for fold in range(1, 6)),
        "final",
    ]
    for told in trainer.stages[:-1]:
        held = np.setdiff1d(np.arange(90), told.items)
        assert not set(targets.group[held]) & set(targets.group[told.items])
    start = estimate_raters(targets, np.arange(90)).posterior
    assert (learned.labels.argmax(axis=1) == truth).mean() > (start.argmax(axis=1) == truth).mean()
    np.testing.assert_allclose(
        trainer.stages[-1].objective.labels.numpy(), learned.labels, atol=1e-6
    )


def test_em_net_does_not_depend_on_the_order_of_raters():
    targets, _ = study(60, 4)
    order = [2, 0, 3, 1]
    turned = targets_of(
        targets.votes[:, order], raters=tuple(targets.raters[rater] for rater in order)
    )
    one = METHODS["em-net"](targets, clerk(60))
    other = METHODS["em-net"](turned, clerk(60))
    np.testing.assert_allclose(other.labels, one.labels, atol=1e-6)


def test_what_an_adjudicator_decided_stands_in_methods_that_read_votes():
    targets, _ = study(60, 5)
    decided = np.arange(60) < 4
    votes = targets.votes.copy()
    votes[0] = OPEN  # decided, and rated by nobody
    hard = np.where(decided, 2, targets.hard)
    ruled = targets_of(votes, decided=decided, hard=hard)
    for name in ("em-net", "annotator-layer"):
        trainer = clerk(60)
        learned = METHODS[name](ruled, trainer)
        at = np.searchsorted(learned.items, np.arange(4))
        np.testing.assert_array_equal(learned.items[at], np.arange(4))
        np.testing.assert_array_equal(learned.labels[at], np.eye(N_CLASSES)[[2, 2, 2, 2]])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=30),
    n_folds=st.integers(2, 8),
    seed=st.integers(0, 99),
)
def test_folds_hold_whole_patients_and_differ_by_no_more_than_one_patient(sizes, n_folds, seed):
    group = np.repeat(np.arange(len(sizes)) * 7, sizes)
    fold = folds_of(group, n_folds, seed)
    assert set(fold.tolist()) == set(range(min(n_folds, len(sizes))))
    for one in np.unique(group):
        assert len(np.unique(fold[group == one])) == 1
    filled = np.bincount(fold)
    assert filled.max() - filled.min() <= max(sizes)


def test_one_patient_one_class_or_nothing_at_all_is_refused():
    targets, _ = study(30)
    one_patient = targets_of(targets.votes, group=np.zeros(30, dtype=np.int64))
    with pytest.raises(TrainingError, match="needs two patients"):
        METHODS["em-net"](one_patient, clerk(30))
    one_class = targets_of(targets.votes, hard=np.zeros(30, dtype=np.int64))
    with pytest.raises(TrainingError, match="all training items are of class 'a'"):
        METHODS["majority"](one_class, clerk(30))
    elsewhere = targets_of(targets.votes, part=np.full(30, "test"))
    for name in METHODS:
        with pytest.raises(TrainingError, match="no item of the part train"):
            METHODS[name](elsewhere, clerk(30))


def test_unknown_methods_and_parameters_without_meaning_are_refused():
    targets, _ = study(30)
    with pytest.raises(InputError, match="take one of majority, soft, em-net"):
        method_named("magic")
    with pytest.raises(InputError, match="smoothing is 1"):
        label_smoothing(targets, clerk(30), smoothing=1.0)
    with pytest.raises(InputError, match=r"share is -0\.1"):
        ousm(targets, clerk(30), share=-0.1)
