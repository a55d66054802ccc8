"""Whether normalising stains, or drawing them at random, helps: learnt at one site, tested at another.

Slides are those of the demo: tiles of 128 um at 2 um a pixel, labelled by the drawn truth (three
grades, inflammation, stroma). Six slides of one site teach a small network from nothing, and six of
another site test it, once stained as at the first and once as by another laboratory and scanner: both
stains' colours turned, haematoxylin weaker and eosin stronger, then a scanner's white balance and
gamma. Strengths vary by a tenth from slide to slide at either site. That stains mix by Beer and
Lambert is what Macenko and Vahadane assume, which favours them; a scanner's gamma is not.

Within a seed all arms begin with the same weights and see the same tiles in the same order.
Intervals are Student's over seeds, not over new data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score, recall_score

from annotation.demo.painting import paint
from annotation.demo.slides import GRADES, INFLAMMATION, DemoSlide, demo_slides
from models.encoders.small_network import SmallNetwork
from models.encoders.views import turned
from models.stain.augmentation import StainAugmentation
from models.stain.density import intensities, optical_density
from models.stain.macenko import macenko
from models.stain.restaining import StainMethod, StainNormalisation
from models.training.loop import fit
from models.training.settings import TrainingSettings
from tests.benchmarks.segmentation import RAW

__all__ = ["ARMS", "CONDITIONS", "figures_of", "run"]

SEEDS = range(10)
SLIDES = 12
CLASSES = ("stroma", *GRADES, INFLAMMATION)
MPP, TILE_PX, STRIDE_PX = 2.0, 64, 32
FITTED_PIXELS = 50_000
SETTINGS = TrainingSettings(epochs=10, batch=64, learning_rate=3e-3, ahead=0)
METHODS: tuple[StainMethod, ...] = ("macenko", "vahadane", "reinhard")
ARMS = ("none", *METHODS, "augmentation")
CONDITIONS = ("same staining", "other laboratory")

_PAINTED = np.array([[0.65, 0.12], [0.70, 0.84], [0.29, 0.40]])
_OTHER = np.array([[0.56, 0.21], [0.72, 0.80], [0.41, 0.56]])
_OTHER_STRENGTH = np.array([0.75, 1.35])
_VARIES = 0.1
_WHITE, _GAMMA = np.array([0.97, 1.0, 0.93]), 1.12

Pixels = NDArray[np.uint8]
Batch = tuple[torch.Tensor, torch.Tensor]
Figures = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, eq=False)
class Slide:
    """A slide's picture, where its tissue is, and its tiles: corners (n, 2) and classes (n,)."""

    pixels: Pixels
    tissue: NDArray[np.bool_]
    corners: NDArray[np.int64]
    labels: NDArray[np.int64]

    def tiles(self, pixels: Pixels) -> Pixels:
        """The tiles (n, s, s, 3) of the slide's picture, or of the same in other colours."""
        return np.stack([pixels[y : y + TILE_PX, x : x + TILE_PX] for x, y in self.corners])

    @property
    def sample(self) -> Pixels:
        """Pixels (m, 3) of tissue to estimate stains from."""
        inside = self.pixels[self.tissue]
        chosen = np.random.default_rng(0).choice(len(inside), FITTED_PIXELS, replace=False)
        return inside[chosen]


def run(_folder: Path) -> None:
    """Print both figures of each arm, and what it gains over doing nothing."""
    print("\nStain ablation: learnt at one site, tested at another")
    done = _kept()
    for seed in SEEDS:
        if str(seed) not in done:
            done[str(seed)] = figures_of(seed)
            _keep({str(seed): done[str(seed)]})
    found = [done[str(seed)] for seed in SEEDS]
    print(f"  {len(SEEDS)} seeds")
    for condition in CONDITIONS:
        for name in ("balanced accuracy", "kappa"):
            print(f"\n  {condition}, {name}")
            plain = np.array([one[condition]["none"][name] for one in found])
            for arm in ARMS:
                values = np.array([one[condition][arm][name] for one in found])
                low, high = _interval(values - plain)
                gain = f"{(values - plain).mean():+.3f} ({low:+.3f} to {high:+.3f})"
                beside = "" if arm == "none" else gain
                print(f"    {arm:14} {values.mean():.3f}  sd {values.std(ddof=1):.3f}  {beside}")


def figures_of(seed: int) -> Figures:
    """Figures of one seed, by condition and arm."""
    drawn = demo_slides(seed, SLIDES)
    learnt = [_slide(slide) for slide in drawn if slide.site == "North"]
    same = [_slide(slide) for slide in drawn if slide.site == "South"]
    other = [replace(slide, pixels=_at_other_laboratory(slide.pixels)) for slide in same]
    tests = dict(zip(CONDITIONS, (same, other), strict=True))
    labels = np.concatenate([slide.labels for slide in learnt])
    figures: Figures = {condition: {} for condition in CONDITIONS}
    for arm in ARMS:
        colours = _colours(arm)
        tiles = np.concatenate([slide.tiles(colours(slide)) for slide in learnt])
        network = _trained(tiles, labels, _augmenter(learnt) if arm == ARMS[-1] else None, seed)
        for condition, slides in tests.items():
            truth = np.concatenate([slide.labels for slide in slides])
            said = _predicted(network, [slide.tiles(colours(slide)) for slide in slides])
            figures[condition][arm] = {
                "balanced accuracy": float(
                    recall_score(truth, said, labels=np.unique(truth), average="macro")
                ),
                "kappa": float(cohen_kappa_score(truth, said)),
            }
    return figures


def _kept() -> dict[str, Figures]:
    path = os.environ.get(RAW)
    if not path or not Path(path).is_file():
        return {}
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {seed: figures for line in lines for seed, figures in json.loads(line).items()}


def _keep(figures: Mapping[str, Figures]) -> None:
    if path := os.environ.get(RAW):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(figures) + "\n")


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    n = len(differences)
    half = float(student.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return float(differences.mean()) - half, float(differences.mean()) + half


def _slide(slide: DemoSlide) -> Slide:
    """Painted as at the first site, at the resolution of the tiles."""
    pixels = paint(replace(slide, site="North"))
    step = round(MPP / slide.mpp)
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    cut = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    small = np.rint(cut.mean(axis=(1, 3))).astype(np.uint8)
    classes = _classes(slide, (height, width), step)
    corners, labels = _labelled(classes)
    strength = np.random.default_rng(slide.seed).uniform(1 - _VARIES, 1 + _VARIES, 2)
    return Slide(_restained(small, _PAINTED, strength), classes >= 0, corners, labels)


def _classes(slide: DemoSlide, shape: tuple[int, int], step: int) -> NDArray[np.int64]:
    """The class of each pixel; -1 outside the tissue."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    drawn = [(slide.tissue, 1)]
    drawn += [(region.polygon, CLASSES.index(region.class_name) + 1) for region in slide.regions]
    found = rasterize(drawn, shape, fill=0, transform=Affine.scale(step), dtype="int16")
    return found.astype(np.int64) - 1


def _labelled(classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tiles of which more than half is of one class."""
    corners, labels = [], []
    for y in range(0, classes.shape[0] - TILE_PX + 1, STRIDE_PX):
        for x in range(0, classes.shape[1] - TILE_PX + 1, STRIDE_PX):
            tile = classes[y : y + TILE_PX, x : x + TILE_PX]
            counts = np.bincount(tile[tile >= 0], minlength=len(CLASSES))
            if counts.max() > TILE_PX**2 / 2:
                corners.append((x, y))
                labels.append(int(counts.argmax()))
    return np.array(corners), np.array(labels)


def _restained(
    pixels: Pixels, vectors: NDArray[np.float64], strength: NDArray[np.float64]
) -> Pixels:
    """What was painted, with stains of other colours and strengths."""
    change = vectors @ np.diag(strength) @ np.linalg.pinv(_PAINTED)
    return intensities(optical_density(pixels) @ np.float32(change.T))


def _at_other_laboratory(pixels: Pixels) -> Pixels:
    restained = _restained(pixels, _OTHER, _OTHER_STRENGTH)
    return np.rint(255 * (restained / 255 * _WHITE) ** _GAMMA).astype(np.uint8)


def _colours(arm: str) -> Callable[[Slide], Pixels]:
    """How an arm sees a slide."""
    if arm not in METHODS:
        return lambda slide: slide.pixels
    stain = StainNormalisation.to_common_reference(arm)
    return lambda slide: stain.of_pixels(slide.sample, "drawn")(slide.pixels)


def _augmenter(
    slides: list[Slide],
) -> Callable[[Pixels, int, np.random.Generator], Pixels]:
    stains = [macenko(slide.sample, "drawn") for slide in slides]
    of_tile = np.repeat(np.arange(len(slides)), [len(slide.labels) for slide in slides])
    draws = StainAugmentation()
    return lambda pixels, tile, rng: draws(pixels, stains[of_tile[tile]], rng)


class _Task:
    """A network from nothing, by cross-entropy in which each class weighs the same."""

    def __init__(
        self,
        tiles: Pixels,
        labels: NDArray[np.int64],
        augment: Callable[[Pixels, int, np.random.Generator], Pixels] | None,
    ) -> None:
        network = SmallNetwork(8)
        self.model: torch.nn.Module = torch.nn.Sequential(
            network, torch.nn.Linear(network.depth, len(CLASSES))
        )
        self._tiles, self._labels, self._augment = tiles, labels, augment
        counts = np.bincount(labels, minlength=len(CLASSES))
        self._weight = torch.from_numpy(1 / np.maximum(counts, 1)).float()

    def __len__(self) -> int:
        return len(self._tiles)

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        tiles = self._tiles[indices]
        if self._augment is not None:
            numbered = zip(tiles, indices.tolist(), strict=True)
            tiles = np.stack([self._augment(tile, number, rng) for tile, number in numbered])
        return _input(turned(tiles, rng)), torch.from_numpy(self._labels[indices])

    def loss(self, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1], self._weight)

    def validate(self) -> Mapping[str, float]:
        return {}


def _trained(
    tiles: Pixels,
    labels: NDArray[np.int64],
    augment: Callable[[Pixels, int, np.random.Generator], Pixels] | None,
    seed: int,
) -> torch.nn.Module:
    torch.manual_seed(seed)
    task = _Task(tiles, labels, augment)
    fit(task, replace(SETTINGS, seed=seed))
    return task.model


def _predicted(network: torch.nn.Module, slides: list[Pixels]) -> NDArray[np.int64]:
    with torch.no_grad():
        return np.concatenate([network(_input(tiles)).argmax(dim=1).numpy() for tiles in slides])


def _input(tiles: Pixels) -> torch.Tensor:
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 127.5 - 1
