"""Learning masks from pixels: segmentation of a release of regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotation.errors import InputError, SlideError
from annotation.slide_images import image_of
from annotation.slides import read_slide
from models.architectures import build
from models.datasets.releases import TrainingRelease
from models.datasets.segmentation import SegmentationDataset, segmentation_dataset
from models.labels.masks import TileMask
from models.noise.raters import estimate_raters
from models.noise.taking_part import labelled_items, rated_items
from models.noise.trainer import FINAL
from models.segmentation.objectives import (
    AnnotatorMasks,
    MajorityMasks,
    MaskObjective,
    PosteriorMasks,
)
from models.segmentation.training import SegmentationTask
from models.tiling.grid import lay_grid
from models.tiling.settings import TileSettings
from models.training.learnable import VALIDATION, Learnt, in_parts, split_of
from models.training.loop import fit
from models.training.run_folder import Stages
from models.training.settings import TrainingSettings

__all__ = ["MASK_METHODS", "MaskLearning", "learn_masks"]

MASK_METHODS = ("majority", "soft", "annotator-layer")


class _Source:
    """Tiles as arrays, of a dataset that gives tensors."""

    def __init__(self, tiles: SegmentationDataset) -> None:
        self._tiles = tiles

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], TileMask]:
        tile = self._tiles[index]
        names = ("posterior", "hard", "votes", "in_domain", "labelled")
        mask = TileMask(**{name: getattr(tile, name).numpy() for name in names})
        pixels: NDArray[np.uint8] = tile.pixels.permute(1, 2, 0).numpy()  # [3, h, w] -> [h, w, 3]
        return pixels, mask


class MaskLearning:
    """See :class:`models.training.learnable.Learnable`."""

    def __init__(
        self,
        architecture: str,
        tiles: SegmentationDataset,
        settings: TileSettings,
        arguments: Mapping[str, Any],
        *,
        site: str | None,
    ) -> None:
        self.targets, self.notes = in_parts(tiles.targets, tiles.fingerprints, site)
        self.split = split_of(self.targets, [tiles.slides[n].name for n in tiles.slide.tolist()])
        self.input: dict[str, Any] = {
            "kind": "tiles",
            "mpp": settings.mpp,
            "size_px": settings.size_px,
            "tiling": settings.to_dict(),
            "tiling_sha256": settings.sha256,
        }
        self.arguments: dict[str, Any] = {"classes": len(tiles.targets.classes), **arguments}
        self.skipped = tiles.skipped
        self._architecture, self._source = architecture, _Source(tiles)
        self._validation = np.flatnonzero(
            (self.targets.part == VALIDATION) & (self.targets.weight > 0)
        )

    def memory_bytes(self, settings: TrainingSettings) -> int | None:
        """Not known before: it depends on the decoder's inner sizes."""
        build(self._architecture, self.arguments)  # whose arguments are at fault says so now
        return None

    def learn(
        self,
        method: str,
        settings: TrainingSettings,
        device: str,
        stages: Stages,
        *,
        n_folds: int | None = None,
    ) -> Learnt:
        """Train by a method, in a single stage; masks are not cross-fitted."""
        del n_folds
        objective, items = self._objective(method)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = build(self._architecture, self.arguments)
        task = SegmentationTask(
            network, objective, self._source, items, validation=self._validation
        )
        task.model.to(device)
        history = fit(
            task,
            settings,
            checkpoints=stages.checkpoints(FINAL),
            progress=stages.watch(FINAL),
        )
        stages.finished(FINAL, history)
        return Learnt(network, len(items), {})

    def figures(self, network: torch.nn.Module) -> dict[str, float]:
        """Figures of a network on the validation part."""
        task = SegmentationTask(
            network, PosteriorMasks(), self._source, self._validation, validation=self._validation
        )
        network.eval()
        with torch.no_grad():
            return dict(task.validate())

    def _objective(self, method: str) -> tuple[MaskObjective, NDArray[np.int64]]:
        if method == "majority":
            return MajorityMasks(), labelled_items(self.targets)
        if method == "soft":
            return PosteriorMasks(), labelled_items(self.targets, posterior=True)
        if method == "annotator-layer":
            items = rated_items(self.targets)
            return AnnotatorMasks(estimate_raters(self.targets, items).confusion), items
        raise InputError(
            f"method {method!r} learns from bags and tiles; for masks take one of "
            f"{', '.join(MASK_METHODS)}",
            method=method,
        )


def learn_masks(
    architecture: str,
    release: TrainingRelease,
    slides_root: Path | None,
    settings: TileSettings,
    arguments: Mapping[str, Any],
    *,
    site: str | None,
    allow_missing: bool,
) -> MaskLearning:
    """The tiles of a release of regions with their masks; ``arguments`` are the architecture's own.

    Every tile that holds anything rated is learnt, tissue or not.

    Parameters
    ----------
    slides_root
        Where the images lie now, under the names of their files; None: where they lay.
    """
    release = release.with_images_in(slides_root)
    grids = {}
    for slide in release.slides:
        try:
            grids[slide.name] = lay_grid(read_slide(image_of(slide), mpp=slide.mpp), settings)
        except SlideError:
            if not allow_missing:
                raise
    tiles = segmentation_dataset(release, grids, allow_missing=allow_missing)
    return MaskLearning(architecture, tiles, settings, arguments, site=site)
