"""How often `drift` finds a change that was made, and cries where none was.

Eighty drawn slides of as many patients are cut into tiles, each restained a little by chance, as
slides of one laboratory differ. Then all are changed as a whole: more haematoxylin, less eosin, or
another scanner (softer, with other colours). What `drift` watches of input and embeddings is computed
from the tiles by the same functions as in a prediction; what the model says stands for a model that
reads the share of each grade with some error. A check draws patients for the reference and others for
now at random; nothing but the stated change tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from annotation.demo.painting import paint
from annotation.demo.slides import GRADES, DemoSlide, demo_slides
from models.drift.embeddings import embeddings_of
from models.drift.files import FromFiles
from models.drift.measures import Categories, Numbers
from models.drift.selection import Asked
from models.drift.watch import compare_measures, decide
from models.encoders.small_network import SmallNetwork
from models.stain.augmentation import StainAugmentation
from models.stain.density import intensities, optical_density
from models.stain.macenko import macenko
from models.stain.stains import Stains
from models.tiling.sharpness import laplacian_variance
from models.tiling.tissue import saturation

__all__ = ["CHANGES", "Case", "checked", "pools_of", "run"]

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, Stains], Pixels]

N_PATIENTS, N_TILES, SIDE_PX = 80, 8, 128
_LUMA = np.array([0.299, 0.587, 0.114])
_CHANNELS = ("red", "green", "blue")


def restained(haematoxylin: float, eosin: float) -> Change:
    """Multiplies the concentrations of both stains."""
    factor = np.diag([haematoxylin - 1, eosin - 1])

    def change(pixels: Pixels, stains: Stains) -> Pixels:
        mixing = np.eye(3) + stains.vectors @ factor @ stains.unmixing
        return intensities(optical_density(pixels) @ mixing.T)

    return change


def rescanned(blur_px: float, gamma: float) -> Change:
    """Softer optics and another curve of brightness, a little more in blue."""

    def change(pixels: Pixels, _stains: Stains) -> Pixels:
        soft = ndimage.gaussian_filter(pixels.astype(np.float64), (0, blur_px, blur_px, 0))
        curve = np.array([gamma, gamma, gamma * 1.03])
        return np.rint(255 * (soft / 255) ** curve).astype(np.uint8)

    return change


CHANGES: Mapping[str, Change] = {
    "nothing": lambda pixels, _: pixels,
    "haematoxylin x 1.1": restained(1.1, 1.0),
    "haematoxylin x 1.2, eosin x 0.9": restained(1.2, 0.9),
    "haematoxylin x 1.4, eosin x 0.8": restained(1.4, 0.8),
    "scanner: gamma 1.05": rescanned(0.0, 1.05),
    "scanner: blur 0.4 px, gamma 1.05": rescanned(0.4, 1.05),
    "scanner: blur 0.8 px, gamma 1.1": rescanned(0.8, 1.1),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Patients to draw from.

    Attributes
    ----------
    numbers
        What is measured of each slide, by key.
    means, samples
        Features of each slide.
    """

    numbers: list[dict[str, float]]
    means: list[NDArray[np.float32]]
    samples: list[NDArray[np.float32]]


def pools_of(n_patients: int = N_PATIENTS, seed: int = 0) -> dict[str, Pool]:
    """Draw all patients' slides, and each change of them; the same seed gives the same patients."""
    torch.manual_seed(0)
    network = SmallNetwork().eval()
    pools = {name: Pool([], [], []) for name in CHANGES}
    for slide in demo_slides(seed, n_patients):
        rng = np.random.default_rng([seed, slide.index])
        tiles = _tiles(slide, rng)
        own = macenko(tiles.reshape(-1, 3), slide.name)
        tiles = StainAugmentation(scale=0.1, shift=0.02)(tiles, own, rng)
        said = _said(slide, rng)
        for name, change in CHANGES.items():
            changed = change(tiles, own)
            with torch.no_grad():
                batch = torch.from_numpy(changed).permute(0, 3, 1, 2) / 255.0
                features = network(batch).numpy()
            pools[name].numbers.append(_seen(slide, changed) | said)
            pools[name].means.append(features.mean(axis=0))
            pools[name].samples.append(features)
    return pools


def _tiles(slide: DemoSlide, rng: np.random.Generator) -> Pixels:
    """Tiles within the tissue, (N_TILES, SIDE_PX, SIDE_PX, 3)."""
    picture = paint(slide)
    left, top, right, bottom = (int(one) for one in slide.tissue.buffer(-SIDE_PX).bounds)
    x = rng.integers(left, right - SIDE_PX, N_TILES)
    y = rng.integers(top, bottom - SIDE_PX, N_TILES)
    return np.stack([picture[b : b + SIDE_PX, a : a + SIDE_PX] for a, b in zip(x, y, strict=True)])


def _seen(slide: DemoSlide, tiles: Pixels) -> dict[str, float]:
    """What stands in a slide's result of the input."""
    stains = macenko(tiles.reshape(-1, 3), slide.name)
    whole = np.ones((SIDE_PX, SIDE_PX), dtype=bool)
    focus = [laplacian_variance(tile, whole, SIDE_PX)[0, 0] for tile in tiles]
    found = {
        "brightness": float((tiles @ _LUMA).mean() / 255),
        "saturation": float(saturation(tiles.reshape(1, -1, 3)).mean()),
        "focus": float(np.median(focus)),
    }
    for number, stain in enumerate(("hematoxylin", "eosin")):
        found[f"strength_{stain}"] = float(stains.strongest[number])
        found |= {
            f"stain_{stain}:{channel}": float(value)
            for channel, value in zip(_CHANNELS, stains.vectors[:, number], strict=True)
        }
    return found


def _said(slide: DemoSlide, rng: np.random.Generator) -> dict[str, float]:
    """What a model might say that reads the share of each grade with some error."""
    area = np.array(
        [sum(one.polygon.area for one in slide.regions if one.class_name == g) for g in GRADES]
    )
    seen = np.log(area / area.sum() + 0.05) + rng.normal(0, 0.3, len(GRADES))
    share = np.exp(seen) / np.exp(seen).sum()
    said = {f"share:{grade}": float(one) for grade, one in zip(GRADES, share, strict=True)}
    entropy = float(-(share * np.log(share)).sum())
    return said | {"max_probability": float(share.max()), "entropy": entropy}


@dataclass(frozen=True)
class Case:
    """A check to repeat.

    Attributes
    ----------
    now
        Patients that are new; so many of them as ``part`` says are changed.
    severe
        How many times as often a patient of the severe third is new.
    """

    change: str
    now: int = 20
    part: float = 1.0
    severe: float = 1.0
    reference: int = 40


CASES: tuple[Case, ...] = (
    Case("nothing", 10),
    Case("nothing", 20),
    Case("nothing", 40),
    *(Case(change, now) for change in list(CHANGES)[1:] for now in (10, 20)),
    Case("haematoxylin x 1.4, eosin x 0.8", 5),
    Case("scanner: blur 0.8 px, gamma 1.1", 5),
    Case("haematoxylin x 1.4, eosin x 0.8", 20, part=0.3),
    Case("scanner: blur 0.8 px, gamma 1.1", 20, part=0.3),
    Case("nothing", 20, severe=3.0),
)


def checked(case: Case, usual: Pool, changed: Pool, seed: int, asked: Asked) -> list[str]:
    """Draw patients and check them; returns the keys of what alarms."""
    rng = np.random.default_rng(seed)
    n = len(usual.means)
    odds = np.where(np.arange(n) % 3 == 2, case.severe, 1.0)
    new = rng.choice(n, case.now, replace=False, p=odds / odds.sum())
    rest = np.setdiff1d(np.arange(n), new)
    old = rng.choice(rest, min(case.reference, len(rest)), replace=False)
    pools = [usual] * len(old)
    pools += [
        changed if place < round(case.part * case.now) else usual for place in range(case.now)
    ]
    drawn = list(zip(pools, [*old, *new], strict=True))
    measures: list[Numbers | Categories] = [
        Numbers(key, key, "input", np.array([pool.numbers[one][key] for pool, one in drawn]))
        for key in usual.numbers[0]
    ]
    files = FromFiles(
        [pool.means[one] for pool, one in drawn],
        [pool.samples[one] for pool, one in drawn],
        np.full(len(drawn), np.nan),
    )
    patient = np.arange(len(drawn))
    current = patient >= len(old)
    embeddings = embeddings_of(files, patient, len(drawn), seed)
    found = compare_measures(measures, embeddings, patient, current, asked)
    decide([found], asked.alpha)
    return [one.key for one in found if one.alarm]


def run(
    folder: Path, repetitions: int = 200, without_change: int = 400, n_patients: int = N_PATIENTS
) -> None:
    """Draw, check and print; the folder is not used."""
    del folder
    torch.set_num_threads(1)
    pools = pools_of(n_patients)
    print(
        f"\nDrift: checks that alarm, of {repetitions} ({without_change} without a change), at alpha "
        f"0.01 with 999 permutations; {CASES[0].reference} patients in the reference"
    )
    print(f"  {'change':40}{'now':>5}{'changed':>9}{'alarm':>8}{'s.e.':>7}  by (share of checks)")
    for case in CASES:
        is_null = case.change == "nothing" and case.severe == 1
        times = without_change if is_null else repetitions
        found = [
            checked(
                case, pools["nothing"], pools[case.change], seed, Asked(predictions="", seed=seed)
            )
            for seed in range(times)
        ]
        _print(case, found)


def _print(case: Case, found: Sequence[Sequence[str]]) -> None:
    n = len(found)
    power = sum(bool(keys) for keys in found) / n
    error = (power * (1 - power) / n) ** 0.5
    often = {key: sum(key in keys for keys in found) / n for keys in found for key in keys}
    first = sorted(often.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{key} {share:.2f}" for key, share in first)
    name = case.change if case.severe == 1 else f"severe cases {case.severe:g} times as often"
    print(f"  {name:40}{case.now:>5}{case.part:>9.0%}{power:>8.3f}{error:>7.3f}  {told}")
