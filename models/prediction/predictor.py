"""One slide by one or several models: what they say of it, of its tiles and regions, and how surely.

Nothing is stored and nothing written; see :mod:`models.prediction.slide_file` and
:mod:`models.prediction.regions_file` for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotation.errors import InputError
from annotation.slides import fingerprint
from consensus.columns import NEGATIVE_NAMES
from models.encoders.encoder import Encoder, note_on
from models.encoding import Progress, SlideImage, TissueTiles, open_image, tiles_of
from models.encoding_settings import tiles_and_stain
from models.model_file import TrainedModel
from models.prediction.dropout import dropout_layers
from models.prediction.ensemble import Pass, kind_of, passes_of, require_together
from models.prediction.feature_prediction import predict_features
from models.prediction.input_statistics import InputStatistics, input_statistics
from models.prediction.mask_prediction import predict_masks
from models.prediction.regions import Outlined, PredictedRegion, dissolved_tiles
from models.prediction.scores import FeaturesSeen, SlideScores, TileScores
from models.prediction.settings import ENSEMBLE, MC_DROPOUT, PredictionSettings, slide_seed
from models.prediction.slide_file import Kind, SlidePrediction
from models.prediction.tile_features import (
    encoded_tiles,
    kept_features,
    kept_tiles,
    require_features,
)
from models.reader import Reader
from models.stain.restaining import StainNormalisation
from models.tiling.settings import TileSettings
from models.training.request import BAGS, MASKS, TILES

__all__ = ["Predicted", "Predictor"]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What is said of a slide.

    Attributes
    ----------
    slide
        Tile by tile, as it stands in the slide's file.
    result
        Of the slide, as it stands in the store.
    regions
        The largest first; none of bags.
    tissue
        Where the slide's tissue is, with the picture it was found on.
    """

    slide: SlidePrediction
    result: dict[str, Any]
    regions: list[PredictedRegion]
    tissue: TissueTiles


@dataclass(frozen=True, eq=False)
class _Said:
    """What models of any kind say of a slide."""

    slide: SlideScores
    tiles: TileScores
    features: FeaturesSeen | None = None
    regions: Outlined | None = None
    notes: Sequence[str] = ()


class Predictor:
    """Models that predict slides together.

    Attributes
    ----------
    members
        One, or those of an ensemble.
    kind, classes
        What they learnt from, and what they tell apart.
    tiles, stain
        How tiles are laid and read, and what is done to their colours, as in their training.
    """

    def __init__(
        self,
        members: Sequence[TrainedModel],
        encoder: Encoder | None,
        features: Path | None,
        settings: PredictionSettings,
        *,
        kind: Kind,
        tiles: TileSettings,
        stain: StainNormalisation | None,
        whole_model: bool,
    ) -> None:
        self.members, self.settings = tuple(members), settings
        self.encoder, self.features = encoder, features
        self.kind, self.tiles, self.stain = kind, tiles, stain
        self.classes = tuple(members[0].description.classes)
        self._whole_model = whole_model

    @classmethod
    def open(
        cls,
        members: Sequence[TrainedModel],
        *,
        encoder: Encoder | None = None,
        features: Path | None = None,
        settings: PredictionSettings,
        device: str = "cpu",
    ) -> Predictor:
        """Make models ready to predict.

        Parameters
        ----------
        encoder
            That made the features they learnt from.
        features
            Or the folder into which `encode` wrote each slide's; models of pixels take neither.
        device
            Where to compute.

        Raises
        ------
        InputError
            They can't predict in the way the settings say.
        ModelFileError
            They don't fit each other, or the encoder.
        """
        require_together(members, settings)
        kind = kind_of(members[0])
        wanted = members[0].description.input
        require_features(wanted, encoder, features, kind)
        tiles, stain = tiles_and_stain(wanted["tiling"])
        for member in members:
            member.network.to(device).eval()
        whole_model = False
        if settings.method == MC_DROPOUT:
            whole_model = encoder is not None and bool(dropout_layers(encoder.network))
            if not whole_model and not dropout_layers(members[0].network):
                raise InputError(
                    "the model has no dropout, so that passes would all be the same; train it with "
                    "dropout = 0.25 in the table [model] of --config, or take --uncertainty "
                    "ensemble or none",
                    model=members[0].description.weights_sha256,
                )
        return cls(
            members,
            encoder,
            features,
            settings,
            kind=kind,
            tiles=tiles,
            stain=stain,
            whole_model=whole_model,
        )

    @property
    def uncertainty(self) -> str:
        """Where uncertainty comes from, in words."""
        settings = self.settings
        if settings.method == ENSEMBLE:
            return f"ensemble of {len(self.members)} models"
        if settings.method != MC_DROPOUT:
            return "none: a single pass"
        head_only = self.kind != MASKS and not self._whole_model
        seen = "head-only" if head_only else "whole model"
        return f"mc-dropout ({seen}), {settings.passes} passes"

    def predict(self, image: SlideImage, progress: Progress | None = None) -> Predicted:
        """What is said of a slide; the same, whatever is predicted before it.

        Raises
        ------
        SlideError, RefusedError
            The slide has no image, or not the one that was added.
        TileError
            It has no tissue, or tiles that can't be read.
        StainError
            Its colours were changed in training, and can't be estimated here.
        """
        with open_image(image) as reader:
            digest = image.fingerprint or fingerprint(reader.slide.path)
            seed = slide_seed(self.settings.seed, digest)
            passes = passes_of(self.members, self.settings, seed)
            plain = passes[0] if passes[0].seed is None else Pass(self.members[0])
            tissue = tiles_of(image.name, reader, self.tiles, threads=self.settings.threads)
            if self.kind == MASKS:
                said = self._of_pixels(reader, tissue, passes, plain, progress)
            else:
                said = self._of_features(reader, tissue, passes, plain, digest, progress)
            # Of the slide and not of the run: runs are compared by them.
            statistics = input_statistics(reader, tissue, seed=slide_seed(0, digest))
        return Predicted(
            self._slide(image.name, digest, tissue, said),
            self._result(said, statistics),
            [] if said.regions is None else said.regions.regions,
            tissue,
        )

    def _of_features(
        self,
        reader: Reader,
        tissue: TissueTiles,
        passes: Sequence[Pass],
        plain: Pass,
        digest: str,
        progress: Progress | None,
    ) -> _Said:
        grid = tissue.grid
        coordinates = np.column_stack([grid.x_px, grid.y_px])
        notes = []
        if self.features is not None:
            wanted = self.members[0].description.input
            kept = kept_features(self.features, grid.slide, digest, wanted)
            coordinates, batches = kept.coordinates, kept_tiles(kept, self.settings, progress)
            if kept.origin.missing:
                notes.append(f"{kept.origin.missing} tiles could not be read when it was encoded")
        elif self.encoder is not None:
            batches = encoded_tiles(
                reader,
                tissue,
                self.encoder,
                None if self.stain is None else self.stain.of_slide(reader, grid),
                self.settings,
                whole_model=self._whole_model,
                progress=progress,
            )
        else:
            raise TypeError("a predictor of features has an encoder or a folder of them")
        found = predict_features(
            batches, passes, plain, n_tiles=len(coordinates), sample_seed=slide_seed(0, digest)
        )
        regions = None
        if self.kind == TILES:
            regions = dissolved_tiles(
                self.classes,
                coordinates,
                grid.side_px,
                grid.side_px * grid.settings.stride_px / grid.settings.size_px,
                found.tiles,
                extent_px=(grid.width_px, grid.height_px),
                mpp=grid.mpp,
                min_region_um2=self.settings.min_region_um2,
            )
        scores = TileScores(coordinates, found.tiles, found.attention)
        return _Said(found.slide, scores, found.features, regions, notes)

    def _of_pixels(
        self,
        reader: Reader,
        tissue: TissueTiles,
        passes: Sequence[Pass],
        plain: Pass,
        progress: Progress | None,
    ) -> _Said:
        found = predict_masks(
            reader,
            tissue,
            passes,
            plain,
            classes=self.classes,
            tiles=self.tiles,
            settings=self.settings,
            progress=progress,
        )
        scores = TileScores(found.coordinates, found.tiles)
        return _Said(found.slide, scores, regions=found.regions)

    def _slide(self, name: str, digest: str, tissue: TissueTiles, said: _Said) -> SlidePrediction:
        grid, spread, seen = tissue.grid, said.tiles.spread, said.features
        attention = said.tiles.attention
        return SlidePrediction(
            slide=name,
            fingerprint=digest,
            width_px=grid.width_px,
            height_px=grid.height_px,
            mpp=grid.mpp,
            side_px=grid.side_px,
            kind=self.kind,
            classes=self.classes,
            weights_sha256=tuple(one.description.weights_sha256 for one in self.members),
            settings_sha256=self.settings.sha256,
            coordinates=said.tiles.coordinates,
            probability=spread.mean.astype(np.float32),
            variance=spread.variance.astype(np.float32),
            entropy=spread.entropy.astype(np.float32),
            mutual_information=spread.mutual_information.astype(np.float32),
            attention=None if attention is None else attention.astype(np.float32),
            feature_mean=None if seen is None else seen.mean,
            feature_sample=None if seen is None else seen.sample,
        )

    def _result(self, said: _Said, statistics: InputStatistics) -> dict[str, Any]:
        outlined = said.regions
        return {
            "kind": self.kind,
            **said.slide.to_dict(self.classes),
            "uncertainty": self.uncertainty,
            "tiles": len(said.tiles.coordinates),
            "regions": 0 if outlined is None else len(outlined.regions),
            "area_um2": {} if outlined is None else outlined.area_um2,
            "dropped_um2": {} if outlined is None else outlined.dropped_um2,
            "input": statistics.to_dict(),
            "notes": [*said.notes, *self._notes(outlined)],
        }

    def _notes(self, outlined: Outlined | None) -> list[str]:
        note = note_on(str(self.members[0].description.input.get("encoder_weights")))
        notes = [] if note is None else [note]
        if self.kind == BAGS:
            notes.append(
                "the model judges whole slides: a tile's probability is what it would say of a "
                "slide of this tile alone, and it outlines no regions"
            )
        else:
            notes.append(
                "the slide's score is the mean over its tissue, and so are entropy, mutual "
                "information and largest probability"
            )
        if outlined is None:
            return notes
        notes += [f"{name} is not outlined" for name in self.classes if name in NEGATIVE_NAMES]
        if outlined.slivers:
            notes.append(
                f"{outlined.slivers} areas below {self.settings.min_region_um2:g} um2, together "
                f"{sum(outlined.dropped_um2.values()):.6g} um2, are in no region"
            )
        return notes
