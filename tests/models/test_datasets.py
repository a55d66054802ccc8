"""Releases as datasets: what comes out is what stands in the store, in the files and on the slides."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError, SlideError
from annotation.paths import file_name
from annotation.slides import read_slide
from annotation.store import Store
from consensus.adjudication import decide
from models.datasets.bags import bag_dataset
from models.datasets.partition import leave_site_out, parts_of
from models.datasets.releases import TrainingRelease, open_training_release
from models.datasets.segmentation import segmentation_dataset
from models.datasets.tiles import feature_tiles, object_crops, pixel_tiles
from models.errors import TileError
from models.features import FeaturesOrigin, write_features
from models.labels.tiles import tile_labels
from models.tiling.grid import TileGrid, lay_grid
from models.tiling.settings import TileSettings
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, SPLIT, Item, build_run, region_items
from tests.gradient_slides import give_images, gradient
from tests.tampering import tamper

Pathquorum = Callable[..., CommandResult]

SLIDES = {
    f"S/{n}": {"patient": f"p{min(n, 10)}", "site": ("North", "South")[n % 2]} for n in range(12)
}
"""12 slides of 11 patients at two sites; the last patient was seen at both."""

SETTINGS = TileSettings(mpp=1.0, size_px=64)


def released(
    store: Store, pathquorum: Pathquorum, items: list[Item], folder: Path, task: str = "regions"
) -> dict[str, Path]:
    run = build_run(store, items, slides=SLIDES, task=task)
    images = give_images(store, folder / "slides")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.6,test=0.4")
    assert made.status == 0, made.err
    return images


@pytest.fixture
def regions(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> dict[str, Path]:
    items = [item for name in SLIDES for item in region_items(name)]
    run = build_run(store, items, slides=SLIDES)
    images = give_images(store, tmp_path / "slides")
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="=Tumor")
        decide(session, 2, by="L", reason="r", answer="exclude")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.6,test=0.4")
    assert made.status == 0, made.err
    return images


@pytest.fixture
def reading(store: Store) -> Iterator[Session]:
    with store.reading() as session:
        yield session


def grids(images: dict[str, Path], settings: TileSettings = SETTINGS) -> dict[str, TileGrid]:
    found = {}
    for name, path in images.items():
        record = read_slide(path)
        found[name] = lay_grid(record, settings)
    return found


def features_of(
    release: TrainingRelease, folder: Path, *, leave_out: tuple[str, ...] = (), **changed: object
) -> dict[str, NDArray[np.float32]]:
    """A feature file for each slide; the features of a tile are random, of each slide their own."""
    folder.mkdir(exist_ok=True)
    written = {}
    for number, slide in enumerate(release.slides):
        x, y = np.meshgrid(np.arange(8) * 128.0, np.arange(6) * 128.0)
        if slide.name in leave_out:
            continue
        values = np.random.default_rng(number).normal(size=(x.size, 5)).astype(np.float32)
        about: dict[str, object] = {
            "slide": slide.name, "fingerprint": slide.fingerprint or "", "width_px": 1000,
            "height_px": 800, "mpp": 0.5, "side_px": 128.0, "settings": {"mpp": 1.0},
            "encoder": "random", "encoder_sha256": "b" * 64,
            "weights": "random", "precision": "float32",
        }  # fmt: skip
        write_features(
            folder / file_name(slide.name, ".h5"),
            FeaturesOrigin(**{**about, **changed}),  # type: ignore[arg-type]
            np.column_stack([x.ravel(), y.ravel()]),
            [values],
        )
        written[slide.name] = values
    return written


def bag_items() -> list[Item]:
    said = [ALL_BENIGN, MOST_TUMOR, SPLIT]
    labels = ["Benign", "=Tumor", None]
    return [
        Item(name, None, said[n % 3], labels[n % 3], "agreed" if labels[n % 3] else "disputed",
             places=() if labels[n % 3] else (None,))
        for n, name in enumerate(SLIDES)
    ]  # fmt: skip


def test_bags_are_the_slides_with_their_label_and_features(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    released(store, pathquorum, bag_items(), tmp_path, "slides")
    with store.reading() as session:
        release = open_training_release(session, "v1")
        written = features_of(release, tmp_path / "features")
        bags = bag_dataset(release, tmp_path / "features")
        soft = bag_dataset(release, tmp_path / "features", open_items="soft")
    targets = bags.targets
    assert targets.names == tuple(sorted(SLIDES))
    assert (targets.classes, targets.ordered) == (("Benign", "=Tumor"), True)
    by_name = dict(zip(targets.names, range(12), strict=True))
    for number, name in enumerate(SLIDES):
        index = by_name[name]
        bag = bags[index]
        np.testing.assert_array_equal(bag.features.numpy(), written[name])
        assert bag.coordinates.shape == (48, 2)
        assert targets.hard[index] == (0, 1, -1)[number % 3]
        assert targets.weight[index] == (1, 1, 0)[number % 3]
        assert targets.votes[index].tolist() == ([0, 0, 0], [1, 1, 0], [0, 1, -1])[number % 3]
        np.testing.assert_allclose(
            targets.posterior[index], ([1, 0], [1 / 3, 2 / 3], [0, 0])[number % 3], atol=1e-6
        )
        assert targets.sites[targets.site[index]] == SLIDES[name]["site"]
        assert targets.group_name(int(targets.group[index])) == SLIDES[name]["patient"]
    assert bags.lengths == [48] * 12
    np.testing.assert_allclose(soft.targets.posterior[by_name["S/2"]], [0.5, 0.5])
    parts = parts_of(targets, bags.fingerprints)
    assert sorted(len(i) for i in parts.parts.values()) != [0, 12]
    south = leave_site_out(targets, "South", bags.fingerprints)
    assert len(south["test"]) == 6
    assert any("also seen at South" in note for note in south.notes)


def test_missing_features_are_all_named_and_left_out_only_when_asked(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    released(store, pathquorum, bag_items(), tmp_path, "slides")
    folder = tmp_path / "features"
    with store.reading() as session:
        release = open_training_release(session, "v1")
        features_of(release, folder, leave_out=("S/1", "S/5"))
        with pytest.raises(TileError, match=r"2 of 12 slides have no features .*: 'S/1', 'S/5'"):
            bag_dataset(release, folder)
        (folder / file_name("S/7", ".h5")).write_bytes(b"no HDF5")
        with pytest.raises(TileError, match=r"S%2F7\.h5"):
            bag_dataset(release, folder)
        bags = bag_dataset(release, folder, allow_missing=True)
        assert [name for name, _ in bags.files.skipped] == ["S/1", "S/5", "S/7"]
        assert len(bags) == 9
        assert "S/7" not in bags.targets.names
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(TileError, match="no slide of the release has features"):
            bag_dataset(release, empty, allow_missing=True)


def test_features_of_another_file_or_another_encoder_are_refused(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    released(store, pathquorum, bag_items(), tmp_path, "slides")
    with store.reading() as session:
        release = open_training_release(session, "v1")
        features_of(release, tmp_path / "other", fingerprint="0" * 64)
        with pytest.raises(RefusedError, match=r"S%2F0.h5' was made from another file than slide"):
            bag_dataset(release, tmp_path / "other")
        features_of(release, tmp_path / "mixed")
        features_of(
            release, tmp_path / "mixed", leave_out=tuple(SLIDES)[:6], encoder_sha256="c" * 64
        )
        with pytest.raises(TileError, match="differ in the encoder"):
            bag_dataset(release, tmp_path / "mixed")
        with pytest.raises(InputError, match="needs a release of regions, and 'v1' is of slides"):
            feature_tiles(release, tmp_path / "mixed")


def test_tiles_with_features_bear_the_labels_of_their_places(
    regions: dict[str, Path], reading: Session, tmp_path: Path
) -> None:
    release = open_training_release(reading, "v1")
    assert not release.ordered  # background is no grade
    written = features_of(release, tmp_path / "features")
    tiles = feature_tiles(release, tmp_path / "features")
    rng = np.random.default_rng(1)
    batch = rng.permutation(len(tiles))[:40]
    loaded = tiles.load(batch).numpy()
    for place, index in enumerate(batch.tolist()):
        name = tiles.slides[tiles.slide[index]].name
        np.testing.assert_array_equal(loaded[place], written[name][tiles.row[index]])
    assert torch.equal(tiles[int(batch[0])], torch.from_numpy(loaded[0]))
    first = tiles.targets.subset(np.flatnonzero(tiles.slide == 0))
    assert (first.weight > 0).any()
    top_left = np.flatnonzero((tiles.slide == 0) & (tiles.row == 0))
    np.testing.assert_allclose(tiles.targets.posterior[top_left], [[1, 0, 0]])
    # Right of x = 900 nobody rated: of the last column of tiles (896 to 1024) 4 px are left.
    last = (tiles.row % 8 == 7) & (tiles.targets.weight > 0)
    assert last.any()
    assert tiles.targets.weight[last].max() <= 4 / 128 + 1e-6
    assert (tiles.targets.hard[last] == -1).all()
    parts = parts_of(tiles.targets, tiles.fingerprints)
    assert sum(len(indices) for indices in parts.parts.values()) == len(tiles)


def test_tiles_of_pixels_are_the_pixels_of_their_place(
    regions: dict[str, Path], reading: Session
) -> None:
    release = open_training_release(reading, "v1")
    found = grids(regions)
    tiles = pixel_tiles(release, found)
    side = 128.0
    for index in (0, len(tiles) // 2, len(tiles) - 1):
        grid = found[tiles.slides[tiles.slide[index]].name]
        x = grid.x_px[tiles.row[index]] + (np.arange(64) + 0.5) * 2
        y = grid.y_px[tiles.row[index]] + (np.arange(64) + 0.5) * 2
        inside = ((x < 1000)[None, :] & (y < 800)[:, None])[..., None]
        expected = gradient(x[None, :], y[:, None])
        got = tiles[index].permute(1, 2, 0).numpy().astype(float)
        assert (np.abs(got - expected) * inside).max() <= 1.01
    name = tiles.slides[0].name
    labels = tile_labels(
        release.items(tiles.slides[0]), found[name], release.classes, release.raters
    )
    of_first = tiles.slide == 0
    np.testing.assert_array_equal(
        tiles.targets.posterior[of_first], labels.posterior[tiles.row[of_first]]
    )
    assert found[name].side_px == side


def test_a_dataset_is_the_same_again_in_threads_when_pickled_and_after_the_session(
    regions: dict[str, Path], store: Store
) -> None:
    def digest(batches: list[torch.Tensor]) -> str:
        return hashlib.sha256(b"".join(b.numpy().tobytes() for b in batches)).hexdigest()

    digests = set()
    for _ in range(2):
        with store.reading() as session:
            tiles = pixel_tiles(open_training_release(session, "v1"), grids(regions))
        first = [tiles.load(np.arange(start, start + 8)) for start in (0, 8, 16)]
        digests.add(digest(first))
    again = pickle.loads(pickle.dumps(tiles))
    digests.add(digest([again.load(np.arange(start, start + 8)) for start in (0, 8, 16)]))
    with ThreadPoolExecutor(2) as pool:
        starts = pool.map(lambda start: tiles.load(np.arange(start, start + 8)), (0, 8, 16))
        digests.add(digest(list(starts)))
    assert len(digests) == 1


def test_masked_tiles_hold_pixels_and_posteriors_of_one_place(
    regions: dict[str, Path], reading: Session
) -> None:
    release = open_training_release(reading, "v1")
    dataset = segmentation_dataset(release, grids(regions))
    assert len(dataset) == len(dataset.targets)
    first = np.flatnonzero(dataset.slide == 0)
    area = np.zeros(3)
    for index in first.tolist():
        tile = dataset[index]
        assert tile.pixels.shape == (3, 64, 64)
        assert tile.posterior.shape == (3, 64, 64)
        total = tile.posterior.sum(dim=0)
        assert torch.allclose(total[tile.labelled > 0], torch.tensor(1.0), atol=1e-5)
        area += (tile.posterior * tile.labelled).sum(dim=(1, 2)).numpy() * 4  # 2 x 2 px a pixel
        assert (tile.in_domain + 1e-6 >= tile.labelled).all()
        assert tile.votes.shape == (3, 64, 64)
    expected = np.zeros(3)
    for item in release.items(dataset.slides[0]):
        if item.label is not None and item.geometry is not None:
            expected += np.array(item.posterior) * item.geometry.area
    np.testing.assert_allclose(area, expected, rtol=1e-5)
    # What was excluded lies outside the domain, and what is open teaches nothing.
    places = {item.state: item.geometry for item in release.items(dataset.slides[0])}
    grid = grids(regions)[dataset.slides[0].name]
    for index in first.tolist():
        row = dataset.row[index]
        box = shapely.box(
            grid.x_px[row], grid.y_px[row], grid.x_px[row] + 128, grid.y_px[row] + 128
        )
        if places["excluded"].contains(box):
            assert not dataset[index].in_domain.any()
        if places["too few raters"].contains(box):
            assert dataset[index].in_domain.min() == 1
            assert not dataset[index].labelled.any()


def test_objects_stand_in_the_middle_of_their_tiles(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [
        Item(name, shapely.Point(x, 300).buffer(20), MOST_TUMOR, "=Tumor")
        for name in SLIDES
        for x in (200, 600)
    ]
    released(store, pathquorum, items, tmp_path, "objects")
    with store.reading() as session:
        release = open_training_release(session, "v1")
        crops = object_crops(release, mpp=0.5, size_px=32)
        assert len(crops) == 24
        assert set(crops.targets.hard.tolist()) == {1}
        crop = crops[1].numpy()
        np.testing.assert_allclose(crop[0, :, 15:17].mean(), 600 / 4, atol=1)
        np.testing.assert_allclose(crop[1, 15:17].mean(), 300 / 4, atol=1)


def test_a_slide_whose_image_changed_is_refused(regions: dict[str, Path], reading: Session) -> None:
    release = open_training_release(reading, "v1")
    laid = grids(regions)
    path = regions["S/3"]
    kept = path.read_bytes()
    path.write_bytes(kept + b"\0")
    with pytest.raises(RefusedError, match="slide 'S/3' is not the image that was added"):
        pixel_tiles(release, laid)
    other = grids(regions)
    path.write_bytes(kept)
    with pytest.raises(RefusedError, match="tiles of slide 'S/3' were laid on another file"):
        segmentation_dataset(release, {**laid, "S/3": replace(other["S/3"], fingerprint="0" * 64)})
    path.unlink()
    with pytest.raises(SlideError, match="slide 'S/3' has no image here"):
        segmentation_dataset(release, laid)


def test_tiles_that_are_missing_or_laid_in_two_ways_are_refused(
    regions: dict[str, Path], reading: Session
) -> None:
    release = open_training_release(reading, "v1")
    laid = grids(regions)
    some = {name: grid for name, grid in laid.items() if name != "S/4"}
    with pytest.raises(TileError, match="1 of 12 slides have no tiles: 'S/4'"):
        pixel_tiles(release, some)
    left = pixel_tiles(release, some, allow_missing=True)
    assert left.skipped == (("S/4", "it has no tiles"),)
    assert "S/4" not in {slide.name for slide in left.slides}
    other = grids({"S/4": regions["S/4"]}, TileSettings(mpp=2.0, size_px=64))
    with pytest.raises(TileError, match="'S/0' and 'S/4' have different settings"):
        pixel_tiles(release, {**some, **other})
    with pytest.raises(TileError, match="no slide of release 'v1' has tiles"):
        pixel_tiles(release, {}, allow_missing=True)


def test_a_release_that_the_store_no_longer_gives_is_refused(
    regions: dict[str, Path], store: Store
) -> None:
    tamper(store, "UPDATE slides SET fingerprint = 'x' WHERE name = 'S/3'")
    with (
        store.reading() as session,
        pytest.raises(RefusedError, match="no longer matches the store"),
    ):
        open_training_release(session, "v1")
