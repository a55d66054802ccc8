"""`encode --stain`: tiles in a reference's colours, what was found said in the file, the degenerate named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from annotation.errors import InputError
from models.encoders import self_supervised
from models.encoders.choosing import ready_encoder
from models.encoding import tiles_of
from models.encoding_settings import encoding_settings, tiles_and_stain
from models.errors import TileError
from models.features import read_features
from models.reader import open_reader
from models.stain.density import intensities
from models.stain.macenko import macenko
from models.stain.normalisation import normalise
from models.stain.reinhard import COMMON_COLOURS, to_lab
from models.stain.restaining import StainNormalisation
from models.stain.slide_pixels import tissue_pixels
from models.stain.stains import REFERENCE, Stains
from models.tiling.settings import TileSettings
from tests.conftest import CommandResult
from tests.models.slides import write_jpeg_tiff
from tests.models.stain.conftest import VECTORS, degrees_apart

Pathquorum = Callable[..., CommandResult]

SPEC = """
name = "tiny"
architecture = "small"
input_px = 64
mpp = 2.0
feature = "pooled"
interpolation = "bilinear"
[arguments]
width = 4
"""
TILES = TileSettings(mpp=2.0, size_px=64)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, each a quarter of the demo's first."""
    folder = tmp_path_factory.mktemp("slides")
    (slide,) = demo_slides(count=1)
    pixels = paint(slide)
    x, y = slide.width_px // 2, slide.height_px // 2
    for number, quarter in enumerate((pixels[:y, :x], pixels[:y, x:]), 1):
        write_jpeg_tiff(folder / f"DEMO-0{number}.tiff", quarter, mpp=slide.mpp)
    return folder


@pytest.fixture
def encode(pathquorum: Pathquorum, tmp_path: Path) -> Pathquorum:
    """Runs `encode` with a tiny encoder into the folder `features`."""
    spec = tmp_path / "tiny.toml"
    spec.write_text(SPEC, encoding="utf-8")

    def call(*arguments: object) -> CommandResult:
        return pathquorum(
            "encode", *arguments, "--encoder", spec, "--random-weights", "--device", "cpu",
            "--to", tmp_path / "features", "--json",
        )  # fmt: skip

    return call


def states(result: CommandResult) -> set[str]:
    assert result.status == 0, result.err
    return {slide["state"] for slide in result.json["slides"]}


def test_tiles_are_restained_before_the_encoder_and_the_file_says_from_what_to_what(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    assert states(encode("--slides", slides)) == {"encoded"}
    plain = read_features(tmp_path / "features" / "DEMO-01.h5")
    assert plain.origin.stain is None
    assert "stain" not in plain.origin.settings
    result = encode("--slides", slides, "--stain", "macenko")
    assert states(result) == {"redone"}
    assert result.err.count("made again: the setting stain changed") == 2
    found = read_features(tmp_path / "features" / "DEMO-01.h5")
    assert result.json["settings"] == found.origin.settings
    assert result.json["settings_sha256"] == found.origin.settings_sha256
    tiles, stain = tiles_and_stain(found.origin.settings)
    assert tiles == TILES
    assert stain is not None
    assert stain.to_dict() == {"method": "macenko", "reference": REFERENCE.to_dict()}
    own = Stains.from_dict(found.origin.stain or {})
    with open_reader(slides / "DEMO-01.tiff") as reader:
        grid = tiles_of("DEMO-01", reader, TILES, threads=1).grid
        estimate = macenko(tissue_pixels(reader, grid), "DEMO-01")
    assert own.to_dict() == estimate.to_dict()
    painted = np.array([0.65, 0.70, 0.29])
    assert degrees_apart(own.vectors[:, 0], painted / np.linalg.norm(painted)) < 8
    encoder = ready_encoder(
        str(tmp_path / "tiny.toml"), weights=None, random_weights=True, seed=0, device="cpu",
        precision=None,
    )  # fmt: skip
    with open_reader(slides / "DEMO-01.tiff") as reader:
        for row in (0, len(found.features) - 1):
            x_px, y_px = found.coordinates[row]
            tile = normalise(reader.read(x_px, y_px, mpp=2.0, size_px=64), own)
            assert encoder.features(tile[None])[0] == pytest.approx(found.features[row], abs=1e-5)
    assert (found.coordinates == plain.coordinates).all()
    assert np.abs(found.features - plain.features).max() > 1e-3
    assert states(encode("--slides", slides, "--stain", "macenko")) == {"kept"}
    changed = encode("--slides", slides, "--stain", "vahadane")
    assert changed.err.count("made again: the setting stain.method changed") == 2
    reinhard = encode("--slides", slides, "--stain", "reinhard")
    assert reinhard.json["settings"]["stain"]["reference"] == COMMON_COLOURS.to_dict()
    back = encode("--slides", slides)
    assert back.err.count("made again: the setting stain changed") == 2
    again = read_features(tmp_path / "features" / "DEMO-01.h5")
    assert (again.features == plain.features).all()


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_a_slide_can_be_the_reference_and_then_keeps_its_colours(
    encode: Pathquorum, slides: Path, method: str
) -> None:
    reference = slides / "DEMO-01.tiff"
    result = encode("--slides", slides, "--stain", method, "--stain-reference", reference)
    assert states(result) == {"encoded"}
    _, stain = tiles_and_stain(result.json["settings"])
    assert stain is not None
    found = read_features(Path(result.json["slides"][0]["file"])).origin.stain
    assert found == stain.reference.to_dict()
    same = encode("--slides", slides, "--stain", method)
    assert same.err.count("made again: the setting stain.reference.") == 2
    alone = encode("--slides", slides, "--stain-reference", reference)
    assert alone.status == 2


def test_a_slide_of_one_stain_is_named_with_the_reason_and_the_others_go_on(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)  # eosin alone, and so pale that hardly any red is absorbed
    amount = rng.uniform(0.2, 0.5, (128, 128)).repeat(8, axis=0).repeat(8, axis=1)
    eosin = intensities(amount[..., None] * VECTORS[:, 1])
    write_jpeg_tiff(tmp_path / "Pink.tiff", eosin, mpp=0.5, quality=95)
    result = encode("--slides", tmp_path / "Pink.tiff", "--slides", slides, "--stain", "macenko")
    assert (result.status, result.out) == (1, "")
    told = result.err.strip().splitlines()
    assert told[-1].startswith("Error: 1 of 3 slides were not encoded: 'Pink' (slide 'Pink' has ")
    assert "stained pixels of 1000 needed" in told[-1]
    written = sorted(path.name for path in (tmp_path / "features").glob("*.h5"))
    assert written == ["DEMO-01.h5", "DEMO-02.h5"]
    assert encode("--slides", tmp_path / "Pink.tiff").status == 0


def test_an_encoder_of_ones_own_tiles_sees_them_restained(
    pathquorum: Pathquorum, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is trained again where the colours it learnt are no longer those it is given."""
    monkeypatch.setattr(self_supervised, "_FEWEST_STEPS", 4)

    def encoder_sha256(*arguments: object) -> tuple[str, str]:
        result = pathquorum(
            "encode", "--slides", slides, "--encoder", "self-supervised", "--mpp", 2.0, "--size", 32,
            "--to", tmp_path / "features", "--json", *arguments,
        )  # fmt: skip
        assert result.status == 0, result.err
        return result.json["encoder_sha256"], result.err

    plain, _ = encoder_sha256()
    stained, told = encoder_sha256("--stain", "macenko")
    assert "it is trained again" in told
    assert stained != plain
    again, told = encoder_sha256("--stain", "macenko")
    assert "is taken as it is" in told
    assert again == stained


def test_settings_say_all_and_nothing_else() -> None:
    for stain in (
        None,
        StainNormalisation.to_common_reference("macenko"),
        StainNormalisation.to_common_reference("reinhard"),
    ):
        table = encoding_settings(TILES, stain)
        tiles, found = tiles_and_stain(table)
        assert tiles == TILES
        assert (found and found.to_dict()) == (stain and stain.to_dict())
    with pytest.raises(InputError, match="unknown tile setting 'stain'"):
        TileSettings.from_dict(table)  # whoever knows of tiles alone can't pass over it
    for wrong, reason in (
        ({"method": "khan", "reference": REFERENCE.to_dict()}, "stain method 'khan' is unknown"),
        ({"method": "macenko"}, "has a method and a reference"),
        ({"method": "macenko", "reference": COMMON_COLOURS.to_dict()}, "these are no stains"),
        ({"method": "reinhard", "reference": REFERENCE.to_dict()}, "these are no colours"),
        ("macenko", "stain is no table"),
    ):
        with pytest.raises(InputError, match=reason):
            tiles_and_stain({**TILES.to_dict(), "stain": wrong})


@pytest.mark.parametrize("method", ["macenko", "vahadane", "reinhard"])
def test_slides_stained_otherwise_come_out_alike(method: str) -> None:
    rng = np.random.default_rng(1)
    amount = rng.gamma(4.0, 0.25, (30_000, 2)) * rng.choice([0.02, 1.0], (30_000, 2))
    other = VECTORS + np.array([[0.1, 0.05], [-0.1, 0.02], [0.05, -0.1]])
    one, two = (
        intensities((amount * strength) @ vectors.T)
        for vectors, strength in ((VECTORS, (1.2, 0.9)), (other, (0.9, 0.7)))
    )
    stain = StainNormalisation.to_common_reference(method)  # type: ignore[arg-type]
    tissue = amount.max(axis=1) > 0.3

    def apart(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
        return float(np.linalg.norm((to_lab(first) - to_lab(second))[tissue].mean(axis=0)))

    restained = [stain.of_pixels(pixels, "S")(pixels) for pixels in (one, two)]
    assert apart(one, two) > 8
    assert apart(*restained) < 3


def test_a_files_stain_that_is_no_table_is_refused(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    assert encode("--slides", slides / "DEMO-01.tiff", "--stain", "macenko").status == 0
    path = tmp_path / "features" / "DEMO-01.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["stain"] = "[1, 2]"
    with pytest.raises(TileError, match="its stain is no JSON object"):
        read_features(path)
