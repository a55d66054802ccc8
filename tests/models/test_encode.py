"""`encode`: files that hold what the encoder gives, are kept or made again, and survive being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from annotation.store import Store
from models.encoders import self_supervised
from models.encoders.choosing import ready_encoder
from models.features import read_features
from models.reader import open_reader
from models.tiling.settings import TissueSettings
from tests.conftest import PROJECT_ROOT, CommandResult
from tests.consensus.built_run import build_run, region_items
from tests.gradient_slides import give_images
from tests.models.slides import write_jpeg_tiff

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
# Gradients and uniform patches are no tissue by the usual settings.
ANYTHING = "smallest_um2 = 0\nmin_sharpness = 0\npens = false\nmin_share = 0\n"


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides, each a quarter of the demo's first: tissue, and a corner of glass."""
    folder = tmp_path_factory.mktemp("slides")
    (slide,) = demo_slides(count=1)
    pixels = paint(slide)
    x, y = slide.width_px // 2, slide.height_px // 2
    quarters = pixels[:y, :x], pixels[:y, x:], pixels[y:, :x]
    for number, quarter in enumerate(quarters, 1):
        write_jpeg_tiff(folder / f"DEMO-0{number}.tiff", quarter, mpp=slide.mpp)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TOML file of an encoder that is quick."""
    path = tmp_path_factory.mktemp("encoder") / "tiny.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.fixture
def encode(pathquorum: Pathquorum, tiny: Path, tmp_path: Path) -> Pathquorum:
    """Runs `encode` into a folder `features`; no slide fails unless it must."""

    def call(*arguments: object, encoder: object = tiny) -> CommandResult:
        to: tuple[object, ...] = ("--to", tmp_path / "features")
        if encoder == tiny:
            to += ("--device", "cpu")
        drawn = ("--random-weights",) if encoder == tiny else ()
        chosen = () if encoder is None else ("--encoder", encoder)
        return pathquorum("encode", *arguments, *chosen, *drawn, *to)

    return call


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.h5"))}


def states(result: CommandResult) -> dict[str, str]:
    assert result.status == 0, result.err
    return {slide["slide"]: slide["state"] for slide in result.json["slides"]}


def test_features_are_what_the_encoder_gives_for_each_tile(
    encode: Pathquorum, slides: Path, tiny: Path, tmp_path: Path
) -> None:
    result = encode("--slides", slides, "--preview", tmp_path / "look", "--batch", 7, "--json")
    assert result.status == 0, result.err
    document = result.json
    assert document["weights"] == "random"
    assert "random" in document["notes"][0]
    assert "Note: the encoder's weights are random" in result.err
    encoder = ready_encoder(
        str(tiny), weights=None, random_weights=True, seed=0, device="cpu", precision=None
    )
    assert document["encoder_sha256"] == encoder.sha256
    for told in document["slides"]:
        path = slides / f"{told['slide']}.tiff"
        found = read_features(Path(told["file"]))
        origin = found.origin
        assert (origin.slide, origin.encoder, origin.weights) == (path.stem, "tiny", "random")
        assert (origin.encoder_sha256, origin.settings) == (encoder.sha256, document["settings"])
        assert (origin.missing, told["tiles"]) == (0, len(found.features))
        assert found.features.shape[1] == 32
        with Image.open(tmp_path / "look" / f"{path.stem}.png") as picture:
            assert picture.width > 50
        with open_reader(path) as reader:
            assert origin.side_px == pytest.approx(64 * 2.0 / reader.slide.mpp)
            for row in (0, len(found.features) // 2, len(found.features) - 1):
                x_px, y_px = found.coordinates[row]
                tile = reader.read(x_px, y_px, mpp=2.0, size_px=64)
                assert encoder.features(tile[None])[0] == pytest.approx(
                    found.features[row], abs=1e-6
                )


def test_what_has_not_changed_is_kept_and_what_has_is_made_again_and_said(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    arguments: tuple[object, ...] = ("--slides", slides, "--json")
    assert set(states(encode(*arguments)).values()) == {"encoded"}
    folder = tmp_path / "features"
    before = files_of(folder)
    (folder / "DEMO-02.h5").unlink()
    damaged = bytearray(before["DEMO-03.h5"])
    with h5py.File(folder / "DEMO-03.h5") as file:
        damaged[file["features"].id.get_chunk_info(0).byte_offset] ^= 1
    (folder / "DEMO-03.h5").write_bytes(damaged)
    again = encode(*arguments, "--batch", 64)
    assert states(again) == {"DEMO-01": "kept", "DEMO-02": "encoded", "DEMO-03": "redone"}
    assert "3/3 DEMO-03" in again.err
    assert "made again: the file is damaged" in again.err
    assert files_of(folder) == before
    for changed, reason in (
        (("--overlap", 16), "the setting overlap_px changed"),
        (("--mpp", 1.5), "the setting mpp changed"),
        (("--seed", 1), "the encoder changed"),
        (("--precision", "bfloat16"), "the precision changed"),
    ):
        arguments += changed
        result = encode(*arguments)
        assert set(states(result).values()) == {"redone"}
        assert result.err.count(f"made again: {reason}") == 3


def test_tiles_of_another_size_go_in_resampled_and_that_is_said(
    encode: Pathquorum, slides: Path
) -> None:
    result = encode("--slides", slides / "DEMO-01.tiff", "--size", 96, "--json")
    assert result.status == 0, result.err
    assert "tiles of 96 px go in at 64 px: the encoder sees 3 microns per pixel" in result.err


def test_a_run_that_is_killed_ends_with_the_bytes_of_one_left_alone(
    encode: Pathquorum, pathquorum: Pathquorum, slides: Path, tiny: Path, tmp_path: Path
) -> None:
    arguments = ("--slides", slides, "--overlap", 48)
    assert encode(*arguments).status == 0
    alone = files_of(tmp_path / "features")
    killed = tmp_path / "killed"
    again = (
        "encode", *arguments, "--encoder", tiny, "--random-weights", "--device", "cpu", "--to", killed,
    )  # fmt: skip
    command = [sys.executable, "-m", "annotation.cli", *map(str, again)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "OMP_NUM_THREADS": "1"}
    # While it writes the first file, and when one is whole.
    for pattern in (".*.part", "*.h5"):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            while not list(killed.glob(pattern)) and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert files_of(killed).items() < alone.items()
    assert pathquorum(*again).status == 0
    assert files_of(killed) == alone


def test_a_slide_that_fails_is_named_and_the_others_go_on(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("DEMO-01", "DEMO-02"):
        (folder / f"{name}.tiff").symlink_to(slides / f"{name}.tiff")
    (folder / "Broken.tiff").write_bytes((slides / "DEMO-03.tiff").read_bytes()[:5000])
    write_jpeg_tiff(folder / "Glass.tiff", np.full((900, 900, 3), 243, np.uint8), mpp=0.5)
    result = encode("--slides", folder, "--json")
    assert (result.status, result.out) == (1, "")
    last = result.err.strip().splitlines()[-1]
    assert last.startswith("Error: 2 of 4 slides were not encoded: 'Broken', 'Glass' (")
    assert "2/4 " in result.err
    assert "slide 'Glass' has no tile with 25% of tissue" in result.err
    assert sorted(files_of(tmp_path / "features")) == ["DEMO-01.h5", "DEMO-02.h5"]
    again = encode("--slides", folder)
    assert again.status == 1
    assert again.err.count(": kept, ") == 2


def test_tiles_that_cannot_be_read_are_left_out_only_when_asked_and_counted(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    path = tmp_path / "Torn.tiff"
    data = bytearray((slides / "DEMO-03.tiff").read_bytes())
    with tifffile.TiffFile(slides / "DEMO-03.tiff") as tiff:
        level = tiff.pages[0]  # tissue is sought on a coarser one
    tile = -(-level.imagewidth // level.tilewidth) - 1  # the upper right corner, amid tissue
    begin, count = level.dataoffsets[tile], level.databytecounts[tile]
    data[begin : begin + count] = bytes(count)
    path.write_bytes(data)
    refused = encode("--slides", path, "--mpp", 0.5)
    assert refused.status == 1
    assert "slide 'Torn' is broken at level" in refused.err
    assert "--allow-missing" in refused.err
    assert not files_of(tmp_path / "features")
    taken = encode("--slides", path, "--mpp", 0.5, "--allow-missing", "--json")
    assert (taken.status, taken.out) == (1, "")
    found = read_features(tmp_path / "features" / "Torn.h5")
    assert found.origin.missing > 0
    assert f"without {found.origin.missing} tile" in taken.err
    kept = encode("--slides", path, "--mpp", 0.5, "--allow-missing")
    assert ": kept, " in kept.err
    assert kept.status == 1


def test_slides_of_a_release_are_held_against_their_fingerprints(
    encode: Pathquorum, pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    names = {f"S/{n}": {"patient": f"p{n}", "site": "North"} for n in range(3)}
    items = [item for name in names for item in region_items(name)]
    run = build_run(store, items, slides=names)
    images = give_images(store, tmp_path / "images")
    assert pathquorum("release", "create", "v1", "--run", run).status == 0
    tissue = tmp_path / "tissue.toml"
    tissue.write_text(ANYTHING, encoding="utf-8")
    arguments = ("--release", "v1", "--tissue", tissue)
    result = encode(*arguments, "--json")
    assert set(states(result)) == set(names)
    for told in result.json["slides"]:
        assert Path(told["file"]).parent == tmp_path / "features"
    before = files_of(tmp_path / "features")
    images["S/0"].write_bytes(images["S/1"].read_bytes() + b"\0")
    # What was made of the released image stays; nothing new is made of another one.
    assert set(states(encode(*arguments, "--json")).values()) == {"kept"}
    changed = encode(*arguments, "--overlap", 8)
    assert changed.status == 1
    assert "slide 'S/0' is not the image that was added: its fingerprint differs" in changed.err
    after = files_of(tmp_path / "features")
    kept = [name for name in before if after[name] == before[name]]
    assert kept == ["S%2F0.h5"]


def test_a_small_encoder_is_trained_on_the_slides_once_and_noted(
    encode: Pathquorum, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_supervised, "_FEWEST_STEPS", 8)
    arguments = ("--slides", slides, "--mpp", 2.0, "--size", 32, "--json")
    first = encode(*arguments, encoder="self-supervised")
    assert first.status == 0, first.err
    assert first.json["weights"] == "self-supervised"
    assert "Training a small encoder on" in first.err
    assert "compare it with a pretrained one (such as uni or virchow2)" in first.json["notes"][0]
    before = files_of(tmp_path / "features")
    assert read_features(tmp_path / "features" / "DEMO-01.h5").origin.weights == "self-supervised"
    again = encode(*arguments, encoder="self-supervised")
    assert set(states(again).values()) == {"kept"}
    assert "is taken as it is" in again.err
    # The folder is an encoder like any other.
    elsewhere = encode(*arguments, "--weights", tmp_path / "features" / "encoder", encoder=None)
    assert set(states(elsewhere).values()) == {"kept"}
    assert files_of(tmp_path / "features") == before
    other = encode(*arguments[:-3], "--size", 48, "--json", encoder="self-supervised")
    assert "is of other tiles; it is trained again" in other.err
    assert set(states(other).values()) == {"redone"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--encoder", "unni", "--random-weights"), "there is no encoder 'unni'"),
        (("--random-weights",), "which encoder is it?"),
        (("--encoder", "gone.toml"), "'gone.toml' can't be read"),
        (("--encoder", "{tiny}"), "encoder 'tiny' names no page with its weights"),
        (("--encoder", "{tiny}", "--weights", "gone"), "no weights at 'gone'"),
        (("--encoder", "{tiny}", "--random-weights", "--weights", "{tiny}"), "leave one out"),
        (("--encoder", "{tiny}", "--random-weights", "--size", "8"), "size_px 8 can't be used"),
        (("--encoder", "{tiny}", "--random-weights", "--overlap", "64"), "overlap_px"),
        (("--encoder", "{tiny}", "--random-weights", "--tissue", "{tiny}"), "unknown tile setting"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    pathquorum: Pathquorum,
    slides: Path,
    tiny: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    given = [argument.format(tiny=tiny) for argument in arguments]
    result = pathquorum("encode", "--slides", slides, "--to", tmp_path / "out", *given)
    assert (result.status, result.out) == (1, "")
    assert reason in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_places_of_slides_that_cannot_be_are_refused(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    assert encode().status == 2
    assert encode("--slides", slides, "--release", "v1").status == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no slides" in encode("--slides", empty).err
    twice = encode("--slides", slides, "--slides", slides / "DEMO-01.tiff")
    assert "two slides bear the name 'DEMO-01'" in twice.err
    bare = tmp_path / "Bare.tiff"
    tifffile.imwrite(bare, np.zeros((256, 256, 3), np.uint8), tile=(128, 128), photometric="rgb")
    refused = encode("--slides", bare)
    assert "'Bare'" in refused.err
    assert "pass --slide-mpp" in refused.err


def test_settings_of_tissue_can_all_be_given(
    encode: Pathquorum, slides: Path, tmp_path: Path
) -> None:
    tissue = tmp_path / "tissue.toml"
    tissue.write_text("min_share = 0.9\nblur_mpp = 4.0\n", encoding="utf-8")
    result = encode("--slides", slides / "DEMO-01.tiff", "--tissue", tissue, "--json")
    assert result.status == 0, result.err
    default = TissueSettings()
    found = result.json["settings"]["tissue"]
    assert (found["min_share"], found["blur_mpp"], found["mpp"]) == (0.9, 4.0, default.mpp)
    json.dumps(found)
