"""An encoder fine-tuned on the tiles of a release: from a request to a folder that `encode` reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, SlideError
from annotation.store import Store
from annotation.stores.schema import SOFTWARE_VERSION
from consensus.release import find_release
from models.datasets.partition import require_two_classes
from models.datasets.releases import TrainingRelease, open_training_release
from models.datasets.tiles import TileDataset, pixel_tiles
from models.encoders.choosing import ready_encoder
from models.encoders.encoder import Encoder
from models.encoders.fine_tuning import FineTuningTask, save_fine_tuned
from models.encoders.spec import SPEC_FILE
from models.encoding import SlideImage, open_image, tiles_of
from models.errors import TileError
from models.noise.trainer import FINAL
from models.targets import Targets
from models.tiling.settings import TileSettings
from models.training.curves import write_curves
from models.training.learnable import TRAIN, VALIDATION, in_parts, split_of
from models.training.loop import Progress, fit
from models.training.run_folder import CHECKPOINTS, RunFolder, Stages
from models.training.stopping import listening
from models.training.tile_augmentation import TileAugmentation, tile_augmentation
from models.training.tuning_request import TuningRequest

__all__ = ["ENCODER_TUNED", "tune"]

ENCODER_TUNED = "encoder tuned"
_STAGE = "tune"


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The tiles of a release in the parts of its split, and those that could not be had."""

    data: TileDataset
    targets: Targets
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    augment: TileAugmentation | None

    def numbers(self, part: str) -> NDArray[np.int64]:
        return np.flatnonzero((self.targets.part == part) & (self.targets.weight > 0))


def tune(
    store: Store,
    request: TuningRequest,
    *,
    say: Callable[[str], None],
    watch: Callable[[str, str], Progress],
) -> dict[str, Any]:
    """Fine-tune an encoder, save it, and note it in the trail; the document of ``tune --json``.

    Parameters
    ----------
    say
        Told what a person must know before it begins.
    watch
        Makes what is told after each batch.

    Raises
    ------
    ConflictError
        The folder holds an encoder, or a training that nobody asked to go on with.
    RefusedError
        A patient stands in two parts of the split.
    TrainingError
        One class only, or what :func:`models.training.loop.fit` says.
    TrainingStoppedError
        SIGTERM or SIGUSR1 came; what was done is kept.
    """
    _require_unfinished(request)
    encoder = _encoder(request)
    settings = TileSettings.from_dict(
        {"mpp": encoder.spec.mpp, "size_px": encoder.spec.input_px, **request.tiles}
    )
    with store.reading() as session:
        release = open_training_release(session, request.release)
        tiles = _tiles(release, settings, request)
        manifest_sha256 = release.manifest_sha256
    require_two_classes(tiles.targets, tiles.numbers(TRAIN), TRAIN)
    split = split_of(
        tiles.targets, [tiles.data.slides[number].name for number in tiles.data.slide.tolist()]
    )
    frozen: dict[str, Any] = {
        "release": {"name": request.release, "manifest_sha256": manifest_sha256},
        "split": split,
        "encoder": {"name": encoder.spec.name, "sha256": encoder.sha256},
        "tuning": vars(request.tuning),
        "tiling": settings.to_dict(),
        "augmentation": {} if tiles.augment is None else tiles.augment.draws.to_dict(),
        "code_version": SOFTWARE_VERSION,
    }
    for note in tiles.notes:
        say(f"note: {note}")
    # What the encoder sees of a tile that goes in at another size.
    seen_mpp = settings.mpp * settings.size_px / encoder.spec.input_px
    task = FineTuningTask(
        replace(encoder, spec=replace(encoder.spec, mpp=seen_mpp)),
        tiles.data,
        tiles.numbers(TRAIN),
        tiles.numbers(VALIDATION),
        request.tuning,
        seed=request.settings.seed,
        augment=tiles.augment,
    )
    run = RunFolder(request.folder, resume=request.resume, result=SPEC_FILE)
    run.begin(request.settings, frozen)
    with listening(wanted=True) as stop:
        stages = Stages(
            folder=run.checkpoints_of(_STAGE),
            settings=request.settings,
            frozen=frozen,
            watch=lambda stage: watch(_STAGE, stage),
            stop=stop,
        )
        history = fit(
            task,
            request.settings,
            checkpoints=stages.checkpoints(FINAL),
            progress=stages.watch(FINAL),
        )
        stages.finished(FINAL, history)
    metrics = dict(history.epochs[history.best].metrics)
    write_curves(run.folder, stages.histories)
    made_by = {**frozen, "training": request.settings.to_dict(), "metrics": metrics}
    save_fine_tuned(run.folder, task, request.tuning, made_by)
    tuned = ready_encoder(
        str(run.folder), weights=None, random_weights=False, seed=0, device="cpu", precision=None
    )
    with store.writing() as session:
        _note(session, request.release, encoder, tuned, frozen, metrics)
    run.done()
    return {
        "encoder": tuned.spec.name,
        "encoder_sha256": tuned.sha256,
        "folder": str(run.folder),
        "tuned_from": encoder.sha256,
        "tuning": vars(request.tuning),
        "mpp": settings.mpp,
        "size_px": settings.size_px,
        "items": len(task),
        "epochs": len(history.epochs),
        "ended": history.ended,
        "best_epoch": history.best + 1,
        "loss": history.epochs[-1].loss,
        "metrics": metrics,
        "release": request.release,
        "manifest_sha256": manifest_sha256,
        "slides": {part: len(slides) for part, slides in split.items()},
        "left_out_site": request.site,
        "skipped": [{"slide": name, "reason": reason} for name, reason in tiles.skipped],
        "notes": [*tiles.notes, *tuned.notes],
    }


def _require_unfinished(request: TuningRequest) -> None:
    done = (request.folder / SPEC_FILE).exists()
    if done and not (request.folder / CHECKPOINTS).exists():
        raise ConflictError(
            f"{request.folder} holds an encoder already ({SPEC_FILE}); encoders never change, choose "
            "another --to",
            folder=request.folder,
        )


def _encoder(request: TuningRequest) -> Encoder:
    return ready_encoder(
        request.encoder,
        weights=request.weights,
        random_weights=False,
        seed=request.settings.seed,
        device=request.device,
        precision="float32",
    )


def _tiles(release: TrainingRelease, settings: TileSettings, request: TuningRequest) -> _Tiles:
    """The tiles that `encode` would lay under the same settings, with what the release says of them."""
    release = release.with_images_in(request.slides_root)
    grids, skipped = {}, {}
    for slide in release.slides:
        image = SlideImage(slide.name, slide.path, slide.fingerprint, slide.mpp, slide.part)
        try:
            with open_image(image, verify=False) as reader:  # verified where its pixels are read
                found = tiles_of(slide.name, reader, settings, threads=request.threads)
                grids[slide.name] = found.grid
        except (SlideError, TileError) as error:
            if not request.allow_missing:
                raise
            skipped[slide.name] = error.message
    data = pixel_tiles(release, grids, allow_missing=request.allow_missing)
    targets, notes = in_parts(data.targets, data.fingerprints, request.site)
    augment = None
    if request.augmentation is not None:
        augment = tile_augmentation(
            request.augmentation,
            lambda number: data.load(np.array([number]))[0].permute(1, 2, 0).numpy(),
            np.flatnonzero((targets.part == TRAIN) & (targets.weight > 0)),
            data.slide,
            [slide.name for slide in data.slides],
        )
        notes += augment.notes
    return _Tiles(data, targets, notes, tuple(skipped.items()), augment)


def _note(
    session: Session,
    release: str,
    encoder: Encoder,
    tuned: Encoder,
    frozen: dict[str, Any],
    metrics: dict[str, float],
) -> None:
    """An event in the trail: labels of the release went into an encoder."""
    row = find_release(session, release)
    record(
        session,
        actor=None,
        action=ENCODER_TUNED,
        subject=f"release:{row.id}",
        new={
            "encoder": tuned.spec.name,
            "encoder_sha256": tuned.sha256,
            "tuned_from": encoder.sha256,
            "release": release,
            "manifest_sha256": row.manifest_sha256,
            "tuning": frozen["tuning"],
            "split": frozen["split"],
            "metrics": metrics,
        },
    )
