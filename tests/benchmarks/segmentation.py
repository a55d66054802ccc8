"""What masks that know how sure they are gain: Dice against the drawn truth.

Slides and annotators are those of the demo, whose habits are known. Data, seeds and steps are frozen
in `tests.benchmarks.noise.frozen`. A network is a U-Net of width 8 and depth 3, batches of 4; the
last step counts. Truth is used for the test alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from annotation.cli import run as command_line
from annotation.demo.protocol import DEMO_PROTOCOL
from annotation.demo.readers import DEMO_READERS, read_demo_slide
from annotation.demo.slides import GRADES, DemoSlide, demo_slides, write_slide
from annotation.geojson.writer import write_feature_collection
from annotation.store import open_store
from consensus.consensus_items import Consensus
from consensus.runs import find_run
from models.labels.masks import SlideMasks, TileMask
from models.reader import open_reader
from models.segmentation.objectives import (
    AnnotatorMasks,
    MajorityMasks,
    MaskObjective,
    PosteriorMasks,
    RaterMasks,
)
from models.segmentation.raters import confusions_of
from models.segmentation.training import SegmentationTask, dice_of_classes, to_input
from models.segmentation.unet import UNet
from models.segmentation.windows import Windows, predict_bands, predict_mask
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.benchmarks.noise import frozen

WIDTH, DEPTH, BATCH = 8, 3, 4
RAW = "PATHQUORUM_BENCHMARK_RAW"
"""A file to which each figure is appended as a line of JSON; those that it holds are not computed
again, so that a benchmark that was stopped goes on."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """The training tiles of one seed, as they are under one kind of run."""

    tiles: list[tuple[NDArray[np.uint8], TileMask]]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], TileMask]:
        return self.tiles[index]


@dataclass(frozen=True, eq=False)
class Study:
    """The data of one seed: tiles by majority and by Dawid-Skene, and slides to test on."""

    majority: Tiles
    posterior: Tiles
    classes: tuple[str, ...]
    tests: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]


def run(folder: Path) -> None:
    """Print Dice by kind of target, and what the posterior gains."""
    print("\nSegmentation: Dice against the drawn truth, mean over three grades")
    print(f"  frozen.py {frozen.sha256()}")
    done = _kept()
    for seed in frozen.SEGMENTATION_SEEDS:
        wanted = [arm for arm in ARMS if (seed, arm) not in done]
        if not wanted:
            continue
        (folder / str(seed)).mkdir()
        study = make_study(folder / str(seed), seed)
        for arm in wanted:
            start = time.process_time()
            dice = dice_of(study, ARMS[arm](study), seed)
            done[seed, arm] = dice
            _keep({"seed": seed, "arm": arm, "dice": dice, "cpu_s": time.process_time() - start})
    _print_table(done)


def make_study(folder: Path, seed: int) -> Study:
    """Slides, reads and two runs through the product's own commands."""
    count = frozen.SEGMENTATION_TRAINING_SLIDES + frozen.SEGMENTATION_TEST_SLIDES
    slides = demo_slides(seed, count)
    paths = {slide.name: write_slide(slide, folder) for slide in slides}
    store = f"sqlite:///{folder / 'study.db'}"
    training = slides[: frozen.SEGMENTATION_TRAINING_SLIDES]
    _command(store, "init")
    (folder / "protocol.toml").write_text(DEMO_PROTOCOL, encoding="utf-8")
    _command(store, "protocol", "add", folder / "protocol.toml")
    for slide in training:
        _command(store, "slide", "add", paths[slide.name], "--patient", slide.patient)
    for reader in DEMO_READERS:
        _command(store, "annotator", "add", reader.handle, "--role", "pathologist")
        for slide in training:
            write_feature_collection(
                folder / reader.handle / f"{slide.name}.geojson", read_demo_slide(slide, reader)
            )
        _command(
            store, "pull", folder / reader.handle, "--annotator", reader.handle,
            "--protocol", "demo", "--read-date", "2026-03-02",
        )  # fmt: skip
    tiles, classes = {}, ()
    for method in ("majority", "dawid-skene"):
        made = _command(store, "consensus", "run", "--protocol", "demo", "--method", method)
        tiles[method], classes = _tiles(store, made["run"], paths)
    tests = [
        (_pixels(paths[slide.name]), truth_of(slide, classes))
        for slide in slides[frozen.SEGMENTATION_TRAINING_SLIDES :]
    ]
    return Study(tiles["majority"], tiles["dawid-skene"], classes, tests)


def truth_of(slide: DemoSlide, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The true class of each pixel at the benchmark's resolution; -1 outside the tissue."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    scale = frozen.SEGMENTATION_MPP / slide.mpp
    shape = (round(slide.height_px / scale), round(slide.width_px / scale))
    drawn = [(slide.tissue, classes.index("background") + 1)]
    drawn += [(region.polygon, classes.index(region.class_name) + 1) for region in slide.regions]
    found = rasterize(drawn, shape, fill=0, transform=Affine.scale(scale), dtype="int16")
    return found.astype(np.int64) - 1


def dice_of(study: Study, arm: tuple[Tiles, MaskObjective], seed: int) -> list[float]:
    """Dice of each grade over all test slides together, after training on one kind of target."""
    tiles, objective = arm
    torch.manual_seed(seed)
    network = UNet(len(study.classes), width=WIDTH, depth=DEPTH)
    steps = -(-len(tiles) // BATCH)
    settings = TrainingSettings(
        epochs=max(1, round(frozen.SEGMENTATION_STEPS / steps)),
        batch=BATCH,
        learning_rate=frozen.LEARNING_RATE,
        weight_decay=frozen.WEIGHT_DECAY,
        seed=seed,
        ahead=0,
    )
    fit(SegmentationTask(network, objective, tiles, np.arange(len(tiles))), settings)
    found, wanted = [], []
    for pixels, truth in study.tests:
        probabilities = predict_mask(
            predict_bands(
                network,
                _windows_of(pixels),
                classes=len(study.classes),
                width_px=truth.shape[1],
                height_px=truth.shape[0],
                windows=Windows(size_px=frozen.SEGMENTATION_TILE_PX),
                to_input=to_input,
            )
        )
        found.append(probabilities.argmax(axis=0).ravel())
        wanted.append(truth.ravel())
    dice = dice_of_classes(np.concatenate(found), np.concatenate(wanted), len(study.classes))
    return [float(dice[study.classes.index(grade)]) for grade in GRADES]


def _rater(number: int) -> Callable[[Study], tuple[Tiles, MaskObjective]]:
    return lambda study: (study.majority, RaterMasks(number))


ARMS: dict[str, Callable[[Study], tuple[Tiles, MaskObjective]]] = {
    "majority": lambda study: (study.majority, MajorityMasks()),
    "posterior": lambda study: (study.posterior, PosteriorMasks()),
    "annotators' confusions": lambda study: (
        study.posterior,
        AnnotatorMasks(confusions_of(mask for _, mask in study.posterior.tiles)),
    ),
    **{reader.handle: _rater(number) for number, reader in enumerate(DEMO_READERS)},
}


def _tiles(store: str, number: int, paths: dict[str, Path]) -> tuple[Tiles, tuple[str, ...]]:
    """Tiles of all training slides that hold rated area, with the masks of a run."""
    opened = open_store(store)
    raters = [reader.handle for reader in DEMO_READERS]
    tiles: list[tuple[NDArray[np.uint8], TileMask]] = []
    with opened.reading() as session:
        consensus = Consensus(session, find_run(session, number))
        for slide in consensus.slides:
            masks = SlideMasks(consensus.items(slide), consensus.classes, raters, open_items="soft")
            pixels = _pixels(paths[slide.name])
            scale = frozen.SEGMENTATION_MPP / slide.mpp
            size = frozen.SEGMENTATION_TILE_PX
            windows = Windows(size_px=size, overlap=0.25)
            for top in windows.starts(pixels.shape[0]):
                for left in windows.starts(pixels.shape[1]):
                    mask = masks.tile(left * scale, top * scale, size * scale, size)
                    if mask.in_domain.any():
                        tiles.append((pixels[top : top + size, left : left + size], mask))
        classes = consensus.classes
    opened.close()
    return Tiles(tiles), classes


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A whole slide at the benchmark's resolution."""
    with open_reader(path) as reader:
        record = reader.slide
        scale = frozen.SEGMENTATION_MPP / record.mpp
        height, width = round(record.height_px / scale), round(record.width_px / scale)
        side = max(height, width)
        found = reader.read(0, 0, mpp=frozen.SEGMENTATION_MPP, size_px=side)
        return np.ascontiguousarray(found[:height, :width])


def _windows_of(pixels: NDArray[np.uint8]) -> Callable[[int, int, int], NDArray[np.uint8]]:
    def read(left: int, top: int, side: int) -> NDArray[np.uint8]:
        return pixels[top : top + side, left : left + side]

    return read


def _command(store: str, *arguments: object) -> dict[str, int]:
    out = StringIO()
    with redirect_stdout(out):
        status = command_line([*map(str, arguments), "--store", store, "--json"])
    if status != 0:
        raise SystemExit(f"the benchmark stopped at `pathquorum {arguments}`")
    document: dict[str, int] = json.loads(out.getvalue())
    return document


def _kept() -> dict[tuple[int, str], list[float]]:
    return {(line["seed"], line["arm"]): line["dice"] for line in _lines()}


def _lines() -> Iterator[dict[str, object]]:
    path = os.environ.get(RAW)
    if path and Path(path).exists():
        yield from map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())


def _keep(line: dict[str, object]) -> None:
    path = os.environ.get(RAW)
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def _print_table(done: dict[tuple[int, str], list[float]]) -> None:
    seeds = frozen.SEGMENTATION_SEEDS
    means = {arm: np.array([np.mean(done[seed, arm]) for seed in seeds]) for arm in ARMS}
    print(f"  {'':24} " + " ".join(f"{grade:>11}" for grade in GRADES) + "        mean  (s.e.)")
    for arm, found in means.items():
        by_grade = np.mean([done[seed, arm] for seed in seeds], axis=0)
        error = found.std(ddof=1) / np.sqrt(len(found))
        print(
            f"  {arm:24} "
            + " ".join(f"{dice:11.3f}" for dice in by_grade)
            + f"  {found.mean():10.3f}  ({error:.3f})"
        )
    best = max((reader.handle for reader in DEMO_READERS), key=lambda arm: means[arm].mean())
    print(f"  differences over the {len(seeds)} seeds, with their standard error:")
    for arm in ("posterior", "annotators' confusions"):
        for other in ("majority", best):
            apart = means[arm] - means[other]
            error = apart.std(ddof=1) / np.sqrt(len(apart))
            print(f"  {arm} - {other}: {apart.mean():+.3f} ({error:.3f})")
