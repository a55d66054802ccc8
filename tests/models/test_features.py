"""Feature files: what they hold comes back, and what isn't theirs is named and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.errors import TileError
from models.features import FeaturesOrigin, read_features, read_origin, write_features

ORIGIN = FeaturesOrigin(
    slide="A/12 é",
    fingerprint="ab" * 32,
    width_px=4000,
    height_px=3000,
    mpp=0.2528,
    side_px=442.97,
    settings={"mpp": 0.5, "size_px": 224, "tissue": {"closing_um": 8}},
    encoder="uni",
    encoder_sha256="ef" * 32,
    weights="folder",
    precision="float32",
)


def written(path: Path, rows: int = 700, depth: int = 384) -> Path:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, depth)).astype(np.float32)
    write_features(path, ORIGIN, rng.uniform(0, 3000, (rows, 2)), np.array_split(features, 3))
    return path


def refused(path: Path) -> str:
    with pytest.raises(TileError) as caught:
        read_features(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


@given(
    arrays(
        st.sampled_from([np.float16, np.float32]),
        st.tuples(st.integers(1, 40), st.integers(1, 9)),
        elements=st.floats(-100, 100, width=16),
    ),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_what_is_written_in_blocks_of_any_size_comes_back(
    tmp_path_factory: pytest.TempPathFactory, features: np.ndarray, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("features") / "a.h5"
    coordinates = np.arange(2.0 * len(features)).reshape(-1, 2) / 3
    write_features(path, ORIGIN, coordinates, np.split(features, sorted(cuts)))
    read = read_features(path)
    assert read.origin == read_origin(path) == ORIGIN
    assert np.array_equal(read.coordinates, coordinates)
    assert read.features.dtype == features.dtype
    assert np.array_equal(read.features, features)


def test_the_same_features_give_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a.h5").read_bytes() == written(tmp_path / "b.h5").read_bytes()


def test_a_writing_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    before = path.read_bytes()
    coordinates = np.zeros((4, 2))

    def breaks() -> object:
        yield np.zeros((2, 3), np.float32)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_features(path, ORIGIN, coordinates, breaks())  # type: ignore[arg-type]
    for blocks, reason in (
        ([], "no tiles"),
        ([np.zeros((3, 3), np.float32)], "3 rows of features for 4 tiles"),
        ([np.zeros((5, 3), np.float32)], "more features than tiles"),
        ([np.full((4, 3), np.inf, np.float16)], "not finite near tile 0; try --precision float32"),
    ):
        with pytest.raises(TileError, match=reason):
            write_features(path, ORIGIN, coordinates, blocks)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_an_absent_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    assert "`pathquorum encode`" in refused(tmp_path / "gone.h5")


@pytest.mark.parametrize("content", [b"", b"id,value\n", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert "no HDF5 file" in refused(path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)


def test_a_flipped_bit_among_the_features_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    whole = bytearray(path.read_bytes())
    for place in (0.4, 0.6, 0.8):
        changed = whole.copy()
        changed[int(place * len(whole))] ^= 4
        path.write_bytes(changed)
        assert "damaged" in refused(path)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("format", "pathquorum-features/9", "no file of the format"),
        ("slide", 3, "it has no slide"),
        ("mpp", -1.0, "no size"),
        ("side_px", np.nan, "no size"),
        ("settings", "[1]", "no JSON object"),
        ("settings", "{}", "not those that their hash was made of"),
        ("encoder_sha256", "xyz", "no SHA-256"),
        ("width_px", "wide", "damaged"),
    ],
)
def test_an_attribute_that_cannot_be_is_named(
    tmp_path: Path, name: str, value: object, reason: str
) -> None:
    path = written(tmp_path / "a.h5", 3, 2)
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    assert reason in refused(path)


def _replace(file: h5py.File, **dataset: object) -> None:
    del file["features"]
    file.create_dataset("features", **dataset)  # type: ignore[arg-type]


def test_datasets_that_lie_elsewhere_or_say_they_are_huge_are_not_read(tmp_path: Path) -> None:
    other = written(tmp_path / "other.h5", 3, 2)
    path = written(tmp_path / "a.h5", 3, 2)

    def linked(file: h5py.File) -> None:
        del file["features"]
        file["features"] = h5py.ExternalLink(other.name, "features")

    def virtual(file: h5py.File) -> None:
        del file["features"]
        layout = h5py.VirtualLayout((3, 2), np.float32)
        layout[:] = h5py.VirtualSource(other.name, "features", (3, 2))
        file.create_virtual_dataset("features", layout)

    changes = {
        "it has no features": [
            linked,
            virtual,
            lambda file: file.__delitem__("features"),
            lambda file: _replace(file, shape=(3, 2), dtype="f4", external=[(str(other), 0, 24)]),
        ],
        "incomplete": [
            lambda file: _replace(file, shape=(1 << 22, 1 << 15), dtype="f4", chunks=(1, 1 << 15)),
            lambda file: _replace(file, data=np.zeros((3, 2), "f4"), compression="gzip"),
        ],
        "another shape or type": [
            lambda file: _replace(file, data=np.zeros((3, 2), "f8")),
            lambda file: _replace(file, data=np.zeros(3, "f4")),
        ],
        "rows of features": [lambda file: _replace(file, data=np.zeros((2, 2), "f4"))],
        "not finite": [lambda file: _replace(file, data=np.full((3, 2), np.nan, "f4"))],
    }
    for reason, edits in changes.items():
        for edit in edits:
            written(path, 3, 2)
            with h5py.File(path, "r+") as file:
                edit(file)
            assert reason in refused(path)


def test_a_difference_in_origin_is_named() -> None:
    changed = {
        "the slide's file": {"fingerprint": "00" * 32},
        "the setting mpp": {"settings": {**ORIGIN.settings, "mpp": 1.0}},
        "the setting tissue.closing_um": {"settings": {**ORIGIN.settings, "tissue": {}}},
        "the encoder": {"encoder_sha256": "00" * 32},
        "the precision": {"precision": "float16"},
        "the slide's microns per pixel": {"mpp": 0.25},
    }
    assert ORIGIN.differs_from(replace(ORIGIN)) is None
    for told, fields in changed.items():
        assert ORIGIN.differs_from(replace(ORIGIN, **fields)) == told
