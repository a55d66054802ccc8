"""A prediction run as `predict` leaves one: rows and files, of slides that nobody looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from annotation.lookup import find_slide
from annotation.store import SOFTWARE_VERSION, Store, now
from consensus.release import create_release, find_release
from consensus.tables import Model, PredictedSlide, PredictionRun
from models.prediction.regions import PredictedRegion
from models.prediction.regions_file import RegionsOrigin, write_regions
from models.prediction.slide_file import SlidePrediction, write_slide_prediction
from models.prediction.slide_work import regions_path, slide_path
from tests.consensus.built_run import MPP, build_run, region_items

CLASSES = ("Benign", "=Tumor", "background")
WEIGHTS = "1" * 64
SETTINGS = "2" * 64
WIDTH_PX, HEIGHT_PX, SIDE_PX = 1000, 800, 150
HOLE = shapely.Polygon(
    shapely.box(10, 10, 300, 300).exterior.coords, [shapely.box(50, 50, 99, 99).exterior.coords]
)
REGIONS = (
    PredictedRegion(HOLE, "Benign", 0.9, 0.3, 0.01, HOLE.area * MPP**2),
    PredictedRegion(shapely.box(400.25, 0, 600, 90), "=Tumor", 0.7, 0.6, 0.02, 4494.375),
)


def make_study(store: Store, slides: Sequence[str] = ("A", "B")) -> None:
    """Put a study on record with these slides of 1000 x 800 px, and a release `v1` of another."""
    run = build_run(store, region_items("R"), slides={name: {} for name in ("R", *slides)})
    with store.writing() as session:
        create_release(session, "v1", run)


def write_run(
    store: Store,
    folder: Path,
    slides: Sequence[str] = ("A", "B"),
    *,
    failed: Sequence[str] = (),
    release: str = "v1",
) -> Path:
    """Put a model `m` of a release and a run on record; the run is called by its folder.

    Parameters
    ----------
    slides, failed
        Slides that are done, and those that failed.
    """
    with store.writing() as session:
        trained_on = find_release(session, release)
        model = Model(
            name="m",
            at=now(),
            release_id=trained_on.id,
            manifest_sha256=trained_on.manifest_sha256,
            method="soft",
            config={},
            metrics={},
            folder=str(folder),
            weights_sha256=WEIGHTS,
            software_version=SOFTWARE_VERSION,
        )
        session.add(model)
        session.flush()
        row = PredictionRun(
            name=folder.name,
            at=now(),
            model_id=model.id,
            members=[{"model": "m", "weights_sha256": WEIGHTS}],
            settings={},
            settings_sha256=SETTINGS,
            folder=str(folder),
            software_version=SOFTWARE_VERSION,
        )
        session.add(row)
        session.flush()
        for name in slides:
            done = {"state": "done", "attempts": 1, **_written(folder, name)}
            session.add(
                PredictedSlide(run_id=row.id, slide_id=find_slide(session, name).id, **done)
            )
        for name in failed:
            slide = find_slide(session, name).id
            session.add(
                PredictedSlide(
                    run_id=row.id, slide_id=slide, state="failed", attempts=3, reason="no tissue"
                )
            )
    return folder


def tile_grid(slide: str) -> SlidePrediction:
    """Seven by six tiles, the last ones beyond the slide's edges."""
    x, y = np.meshgrid(np.arange(0, WIDTH_PX, SIDE_PX), np.arange(0, HEIGHT_PX, SIDE_PX))
    corners = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    n_tiles = len(corners)
    rng = np.random.default_rng(7)
    attention = rng.dirichlet(np.ones(n_tiles)).astype(np.float32)
    return SlidePrediction(
        slide=slide,
        fingerprint=f"fingerprint of {slide}",
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        mpp=MPP,
        side_px=float(SIDE_PX),
        kind="bags",
        classes=CLASSES,
        weights_sha256=(WEIGHTS,),
        settings_sha256=SETTINGS,
        coordinates=corners,
        probability=rng.dirichlet(np.ones(3), n_tiles).astype(np.float32),
        variance=np.zeros((n_tiles, 3), np.float32),
        entropy=rng.random(n_tiles, dtype=np.float32),
        mutual_information=rng.random(n_tiles, dtype=np.float32),
        attention=attention,
    )


def _written(folder: Path, slide: str) -> dict[str, Any]:
    prediction = tile_grid(slide)
    tiles, regions = slide_path(folder, slide), regions_path(folder, slide)
    write_slide_prediction(tiles, prediction)
    write_regions(regions, REGIONS, RegionsOrigin.of(prediction))
    return {
        "output_sha256": hashlib.sha256(tiles.read_bytes()).hexdigest(),
        "regions_sha256": hashlib.sha256(regions.read_bytes()).hexdigest(),
        "finished_at": now(),
        "result": {
            "kind": "bags",
            "classes": list(CLASSES),
            "probability": dict(zip(CLASSES, (0.25, 0.7, 0.05), strict=True)),
            "ci_low": dict(zip(CLASSES, (0.2, 0.6, 0.01), strict=True)),
            "ci_high": dict(zip(CLASSES, (0.3, 0.8, 0.09), strict=True)),
            "entropy": 0.7,
            "mutual_information": 0.1,
            "predicted": "=Tumor",
        },
    }
