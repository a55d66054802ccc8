"""What can be learnt from a release: its targets in parts, and how a method learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.datasets.partition import Partition, leave_site_out, parts_of
from models.targets import Targets
from models.training.out_of_fold import KeptPredictions
from models.training.run_folder import Stages
from models.training.settings import TrainingSettings

__all__ = ["NO_PART", "TRAIN", "VALIDATION", "Learnable", "Learnt", "in_parts", "split_of"]

TRAIN, VALIDATION = "train", "val"

NO_PART = ""
"""Of items that a partition leaves out."""


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a method gave.

    Attributes
    ----------
    network
        The one to use.
    items
        How many it was trained on.
    found
        The method's parameters, and what it found of the raters.
    kept
        Predictions of the training's and validation's items by models that have not learnt from
        their patients; None where there are none.
    """

    network: torch.nn.Module
    items: int
    found: dict[str, Any]
    kept: KeptPredictions | None = None


class Learnable(Protocol):
    """Data of one kind, ready for an architecture.

    Attributes
    ----------
    targets
        Their parts are those of the partition.
    split
        The slides of each part, those that training does not look at among them.
    input, arguments
        What goes into the model and what builds it; see
        :class:`models.model_file.ModelDescription`.
    notes
        What whoever reads the figures must know.
    skipped
        Slides that were left out, with the reason.
    """

    targets: Targets
    split: dict[str, list[str]]
    input: dict[str, Any]
    arguments: dict[str, Any]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def memory_bytes(self, settings: TrainingSettings) -> int | None:
        """What a step needs, beyond the interpreter and torch; None where nobody can tell before."""
        ...

    def learn(
        self,
        method: str,
        settings: TrainingSettings,
        device: str,
        stages: Stages,
        *,
        n_folds: int | None = None,
    ) -> Learnt:
        """Train by a method.

        Parameters
        ----------
        n_folds
            See :class:`models.noise.methods.Method`.
        """
        ...

    def figures(self, network: torch.nn.Module) -> dict[str, float]:
        """Figures of a network on the validation part; empty where nothing is labelled in it."""
        ...


def in_parts(
    targets: Targets, fingerprints: Sequence[str | None], site: str | None
) -> tuple[Targets, tuple[str, ...]]:
    """Targets in the parts of the release's split, or with one site held out, and notes on that.

    Raises
    ------
    RefusedError
        A patient or slide stands in two parts.
    InputError
        There is no such site.
    """
    partition: Partition
    if site is None:
        partition = parts_of(targets, fingerprints)
    else:
        partition = leave_site_out(targets, site, fingerprints)
    part = np.full(len(targets), NO_PART, dtype=object)
    for name, indices in partition.parts.items():
        part[indices] = name
    parted: NDArray[np.str_] = part.astype(np.str_)
    return replace(targets, part=parted), partition.notes


def split_of(targets: Targets, slide_of: Sequence[str]) -> dict[str, list[str]]:
    """The slides of each part.

    Parameters
    ----------
    slide_of : length n
        The slide that each item lies on.
    """
    slides = np.array(slide_of)
    return {
        str(part): sorted(set(slides[targets.part == part].tolist()))
        for part in np.unique(targets.part)
        if part != NO_PART
    }
