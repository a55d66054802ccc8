"""Learning from features: slides as bags, or tiles by themselves.

Shapes: n items, N tiles of a bag, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotation.paths import file_name, inside
from models.architectures import build
from models.datasets.bags import BagDataset, bag_dataset
from models.datasets.releases import TrainingRelease
from models.datasets.tiles import TileDataset, feature_objects, feature_tiles
from models.features import FeaturesOrigin, read_origin
from models.labels.slide_labels import SlideLabelRule
from models.mil.memory import memory_estimate
from models.mil.networks import BagClassifier, PoolingNetwork
from models.mil.training import BagSource, BagTrainer, predict
from models.noise.methods import method_named
from models.noise.trainer import OutOfFold
from models.targets import Targets
from models.training.figures import epoch_figures
from models.training.learnable import TRAIN, VALIDATION, Learnt, in_parts, split_of
from models.training.out_of_fold import FINAL_MODEL, KeptPredictions
from models.training.run_folder import Stages
from models.training.settings import TrainingSettings

__all__ = ["FeatureLearning", "KeptBags", "learn_bags", "learn_tiles"]

_KEPT_BYTES = 2 * 1024**3
"""Bags that stay in memory once they were read; others are read anew each time."""

_TILES_AT_ONCE = 1024


class KeptBags:
    """Bags by number, read when first asked for and kept while there is room.

    Parameters
    ----------
    bags
        By number.
    most_bytes
        Of all that are kept.
    """

    def __init__(self, bags: BagDataset, *, most_bytes: int = _KEPT_BYTES) -> None:
        self._bags = bags
        self._kept: dict[int, NDArray[Any]] = {}
        self._room = most_bytes

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Features (N, F) as stored."""
        if index in self._kept:
            return self._kept[index]
        features: NDArray[Any] = self._bags[index].features.numpy()
        if features.nbytes <= self._room:
            self._kept[index] = features
            self._room -= features.nbytes
        return features


class _Tiles:
    """Tiles as bags of one."""

    def __init__(self, features: NDArray[Any]) -> None:
        self._features = features

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return self._features[index : index + 1]


class FeatureLearning:
    """See :class:`models.training.learnable.Learnable`.

    Parameters
    ----------
    goes_in, arguments, notes, skipped
        Of the class of the same names; what goes in is its `input`.
    at_once
        Items that are predicted together.
    slide_of, corners
        The slide of each item, and the upper left corner (n, 2) of a tile; NaN of bags.
    lengths
        Tiles of each bag; empty for tiles by themselves.
    """

    def __init__(
        self,
        architecture: str,
        targets: Targets,
        source: BagSource,
        *,
        split: dict[str, list[str]],
        goes_in: dict[str, Any],
        arguments: dict[str, Any],
        notes: tuple[str, ...],
        skipped: tuple[tuple[str, str], ...],
        at_once: int,
        slide_of: Sequence[str],
        corners: NDArray[np.float64],
        lengths: Sequence[int] = (),
    ) -> None:
        self.targets, self.split = targets, split
        self.input, self.arguments, self.notes, self.skipped = goes_in, arguments, notes, skipped
        self._architecture, self._source, self._at_once = architecture, source, at_once
        self._lengths, self._slide_of, self._corners = lengths, slide_of, corners
        self._validation = np.flatnonzero((targets.part == VALIDATION) & (targets.weight > 0))

    def memory_bytes(self, settings: TrainingSettings) -> int | None:
        """What a step with the largest bags needs; None for tiles, of which any number fits."""
        network = self.make()
        if not isinstance(network, PoolingNetwork) or not self._lengths:
            return None
        return memory_estimate(
            network, tiles=max(self._lengths), bags=settings.batch, ahead=settings.ahead
        )

    def make(self) -> BagClassifier:
        """A network with fresh weights."""
        network = build(self._architecture, self.arguments)
        if not isinstance(network, BagClassifier):
            raise TypeError(f"{self._architecture} does not classify bags")
        return network

    def learn(
        self,
        method: str,
        settings: TrainingSettings,
        device: str,
        stages: Stages,
        *,
        n_folds: int | None = None,
    ) -> Learnt:
        """Train by a method."""
        trainer = BagTrainer(
            source=self._source,
            make=self.make,
            settings=settings,
            names=self.targets.names,
            device=device,
            checkpoints=stages.checkpoints,
            validation=self.figures,
            progress=stages.watch,
            finished=stages.finished,
        )
        learned = method_named(method)(self.targets, trainer, seed=settings.seed, n_folds=n_folds)
        kept = None
        if learned.out_of_fold is not None:
            kept = self._kept(learned.out_of_fold, learned.model)
        return Learnt(learned.model, len(learned.items), dict(learned.told), kept)

    def _kept(self, found: OutOfFold, network: BagClassifier) -> KeptPredictions:
        """Of the training's items out of fold, and of validation's by the final network."""
        items = np.concatenate([found.items, self._validation])
        probabilities = found.probabilities
        if len(self._validation):
            probabilities = np.concatenate([probabilities, self._predict(network)])
        slides, slide = np.unique(np.array(self._slide_of)[items], return_inverse=True)
        return KeptPredictions(
            slides=slides.tolist(),
            slide=slide.reshape(-1).astype(np.int64),
            corner_px=self._corners[items],
            fold=np.append(found.folds, np.full(len(self._validation), FINAL_MODEL)),
            probabilities=probabilities.astype(np.float32),
        )

    def _predict(self, network: BagClassifier) -> NDArray[np.float64]:
        """Probabilities of the validation part."""
        return predict(
            network, self._source, self._validation, batch=self._at_once, names=self.targets.names
        )

    def figures(self, network: torch.nn.Module) -> dict[str, float]:
        """Figures of a network on the validation part."""
        if not isinstance(network, BagClassifier) or not len(self._validation):
            return {}
        return epoch_figures(self._predict(network), self.targets.hard[self._validation])


def learn_bags(
    architecture: str,
    release: TrainingRelease,
    folder: Path,
    arguments: Mapping[str, Any],
    *,
    site: str | None,
    allow_missing: bool,
    slide_label: SlideLabelRule | None = None,
) -> FeatureLearning:
    """The slides of a release as bags; ``arguments`` are the architecture's own.

    Parameters
    ----------
    slide_label
        See :func:`models.datasets.bags.bag_dataset`.
    """
    bags = bag_dataset(release, folder, slide_label=slide_label, allow_missing=allow_missing)
    targets, notes = in_parts(bags.targets, bags.fingerprints, site)
    used = np.flatnonzero(np.isin(targets.part, (TRAIN, VALIDATION)))
    origin = bags.files.files[0].origin
    width = bags[int(used[0]) if len(used) else 0].features.shape[1]
    return FeatureLearning(
        architecture,
        targets,
        KeptBags(bags),
        split=split_of(targets, targets.names),
        goes_in={
            **_input(origin),
            **({} if slide_label is None else {"slide_label": slide_label.to_dict()}),
        },
        arguments=_arguments(targets, width, arguments),
        notes=notes + _notes(origin),
        at_once=1,
        slide_of=targets.names,
        corners=np.full((len(targets), 2), np.nan),
        lengths=bags.lengths,
        skipped=bags.files.skipped,
    )


def learn_tiles(
    architecture: str,
    release: TrainingRelease,
    folder: Path,
    arguments: Mapping[str, Any],
    *,
    site: str | None,
    allow_missing: bool,
) -> FeatureLearning:
    """The tiles of a release of regions, or the objects of one of these.

    Those that training and validation take lie in memory.
    """
    made = feature_objects if release.task == "objects" else feature_tiles
    tiles: TileDataset = made(release, folder, allow_missing=allow_missing)
    targets, notes = in_parts(tiles.targets, tiles.fingerprints, site)
    used = np.flatnonzero(np.isin(targets.part, (TRAIN, VALIDATION)))
    features = tiles.load(used).numpy()
    origin = read_origin(inside(folder, file_name(tiles.slides[0].name, ".h5")))
    slide_of = [tiles.slides[n].name for n in tiles.slide.tolist()]
    return FeatureLearning(
        architecture,
        targets.subset(used),
        _Tiles(features),
        split=split_of(targets, slide_of),
        goes_in=_input(origin),
        arguments=_arguments(targets, features.shape[1], arguments),
        notes=notes + _notes(origin),
        at_once=_TILES_AT_ONCE,
        slide_of=np.array(slide_of)[used].tolist(),
        corners=tiles.corners(used),
        skipped=tiles.skipped,
    )


def _arguments(targets: Targets, features: int, given: Mapping[str, Any]) -> dict[str, Any]:
    head = "ordinal" if targets.ordered else "nominal"
    return {"features": features, "classes": len(targets.classes), "head": head, **given}


def _input(origin: FeaturesOrigin) -> dict[str, Any]:
    return {
        "kind": "features",
        "encoder": origin.encoder,
        "encoder_sha256": origin.encoder_sha256,
        "encoder_weights": origin.weights,
        "precision": origin.precision,
        "tiling": dict(origin.settings),
        "tiling_sha256": origin.settings_sha256,
    }


def _notes(origin: FeaturesOrigin) -> tuple[str, ...]:
    if origin.weights == "random":
        return ("the encoder has random weights: its features mean nothing by themselves",)
    if origin.weights == "self-supervised":
        return (
            "the encoder was trained on the study's own tiles alone; a pretrained one should be "
            "compared first",
        )
    return ()
