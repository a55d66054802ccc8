"""`encode`: slides into feature files."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.errors import InputError, PathquorumError
from annotation.terminal import Invocation, Outcome, command, counted, table
from models.errors import ModelFileError, TileError, TrainingError

if TYPE_CHECKING:
    from rich.console import Console

    from models.encoders.encoder import Encoder
    from models.encoding import EncodedSlide, Encoding, SlideImage
    from models.stain.restaining import StainNormalisation
    from models.tiling.settings import TileSettings, TissueSettings

_TOLD_EVERY_S = 10.0
_NAMED = 5


@click.command(short_help="Turn slides into features.")
@click.option("--release", metavar="NAME", help="The slides of a release.")
@click.option(
    "--slides",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A slide's file, or a folder of them; may be repeated. Needs no store.",
)
@click.option(
    "--encoder",
    metavar="ENCODER",
    help="resnet50, vit-small, vit-base, uni, virchow2, self-supervised, a TOML file, or a folder "
    "that a training wrote.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder or file with its weights; absent, they come from the encoder's page with your "
    "own access.",
)
@click.option("--random-weights", is_flag=True, help="Draw the weights: for trials only.")
@click.option("--mpp", type=float, help="Microns per pixel of tiles; default: the encoder's.")
@click.option("--size", type=int, metavar="PX", help="Side of tiles; default: the encoder's.")
@click.option("--overlap", type=int, default=0, metavar="PX", help="What neighbours share.")
@click.option(
    "--edge",
    type=click.Choice(["pad", "drop", "shift"]),
    default="pad",
    show_default=True,
    help="Tiles over the slide's edge: go beyond it, leave out, or move back.",
)
@click.option(
    "--tissue",
    "tissue_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.toml",
    help="What counts as tissue: any of the settings that stand in feature files under `tissue`.",
)
@click.option(
    "--stain",
    type=click.Choice(["macenko", "vahadane", "reinhard"]),
    help="Bring the colours of each slide to a reference, by what its tissue shows of its stains.",
)
@click.option(
    "--stain-reference",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="SLIDE",
    help="A slide's file whose colours the others shall have; default: a published reference.",
)
@click.option(
    "--slide-mpp", type=float, help="Microns per pixel of --slides whose files don't say."
)
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder."
)
@click.option(
    "--preview",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also a picture of each slide with its tissue and tiles.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Tiles that go through the encoder at a time.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="How many read tiles.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Auto: a GPU where there is one.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Default: the encoder's on a GPU, float32 elsewhere.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of training and random weights."
)
@click.option(
    "--around",
    type=click.Choice(["objects"]),
    help="A tile around each object of the --release, instead of tiles over tissue.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out tiles that can't be read.")
@command
def encode(
    invocation: Invocation,
    release: str | None,
    slides: tuple[Path, ...],
    encoder: str | None,
    weights: Path | None,
    random_weights: bool,
    mpp: float | None,
    size: int | None,
    overlap: int,
    edge: Any,
    tissue_file: Path | None,
    stain: Any,
    stain_reference: Path | None,
    slide_mpp: float | None,
    to: Path,
    preview: Path | None,
    batch: int,
    threads: int,
    device: str,
    precision: Any,
    seed: int,
    around: str | None,
    allow_missing: bool,
) -> Outcome:
    """Turn slides into features: tissue, tiles at a resolution, and a vector a tile.

    Each slide becomes one HDF5 file in --to, whole or not at all. Run again, files stay whose slide,
    settings and encoder are the same, and others are made anew. What fails on one slide is said, and
    the others go on; the exit status is 1 then.
    """
    from models.encoders.choosing import chosen_spec, ready_encoder
    from models.encoders.spec import SELF_SUPERVISED_NAME
    from models.encoding import Encoding
    from models.extras import needs
    from models.features import settings_sha256
    from models.tiling.settings import TileSettings

    for module in ("torch", "h5py", "safetensors"):
        needs(module, "models")
    if around is not None and (allow_missing or overlap or preview is not None):
        raise click.UsageError(
            "--around objects gives each object its tile: leave out --allow-missing, --overlap and "
            "--preview."
        )
    # It needs what was just looked for.
    from models.commands.slides_to_encode import slides_to_encode

    images = slides_to_encode(invocation, release, slides, slide_mpp, around=around is not None)
    own = encoder == SELF_SUPERVISED_NAME and weights is None and not random_weights
    spec = chosen_spec(encoder, weights)
    settings = TileSettings(
        mpp=spec.mpp if mpp is None else mpp,
        size_px=spec.input_px if size is None else size,
        overlap_px=overlap,
        edge=edge,
        tissue=_tissue(tissue_file),
    )
    encoding = Encoding(
        tiles=settings,
        to=to,
        stain=_stain(stain, stain_reference, settings, slide_mpp, threads=threads),
        preview=preview,
        batch=batch,
        threads=threads,
        allow_missing=allow_missing,
    )
    if own:
        encoder, weights = None, _trained(invocation, images, encoding, seed=seed, device=device)
    ready = ready_encoder(
        encoder,
        weights=weights,
        random_weights=random_weights,
        seed=seed,
        device=device,
        precision=precision,
    )
    ready.told = invocation.say
    for note in _notes(ready, settings):
        invocation.say(f"Note: {note}.")
    done = _encode_all(invocation, images, ready, encoding)
    document = {
        "encoder": ready.spec.name,
        "encoder_sha256": ready.sha256,
        "weights": ready.weights,
        "precision": ready.precision,
        "device": ready.device.type,
        "settings": encoding.settings,
        "settings_sha256": settings_sha256(encoding.settings),
        "to": str(to),
        "slides": [slide.to_dict() for slide in done],
        "notes": _notes(ready, settings),
    }
    return Outcome(document, lambda console: _show(console, done, to))


def _tissue(path: Path | None) -> TissueSettings:
    from models.tiling.settings import TileSettings, TissueSettings

    if path is None:
        return TissueSettings()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        return TileSettings.from_dict({"mpp": 1.0, "size_px": 64, "tissue": given}).tissue
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"tissue file {str(path)!r}: {error}", path=path) from None


def _stain(
    method: Any,
    reference: Path | None,
    tiles: TileSettings,
    slide_mpp: float | None,
    *,
    threads: int,
) -> StainNormalisation | None:
    from models.encoding import SlideImage, open_image, tiles_of
    from models.stain.restaining import StainNormalisation

    if method is None:
        if reference is not None:
            raise click.UsageError("Say with --stain how slides are brought to --stain-reference.")
        return None
    stain = StainNormalisation.to_common_reference(method)
    if reference is None:
        return stain
    with open_image(SlideImage(reference.stem, str(reference), mpp=slide_mpp)) as reader:
        grid = tiles_of(reference.stem, reader, tiles, threads=threads).grid
        return stain.with_reference(reader, grid)


def _trained(
    invocation: Invocation,
    images: Sequence[SlideImage],
    encoding: Encoding,
    *,
    seed: int,
    device: str,
) -> Path:
    """The encoder of these slides: of a release's, those of its training part."""
    from models.encoders.own_tiles import own_encoder

    return own_encoder(
        encoding.to / "encoder",
        [image for image in images if image.part in ("", "train")],
        encoding.tiles,
        encoding.stain,
        seed=seed,
        device=device,
        threads=encoding.threads,
        told=invocation.say,
        progress=_Told(invocation, "training", "batches"),
    )


def _encode_all(
    invocation: Invocation, images: Sequence[SlideImage], encoder: Encoder, encoding: Encoding
) -> list[EncodedSlide]:
    from models.encoding import encode_slide

    done: list[EncodedSlide] = []
    failed: dict[str, PathquorumError] = {}
    for number, image in enumerate(images, 1):
        what = f"{number}/{len(images)} {image.name}"
        try:
            slide = encode_slide(image, encoder, encoding, _Told(invocation, what, "tiles"))
        except (ModelFileError, TrainingError):
            raise  # of the encoder, and so of every slide
        except PathquorumError as error:
            failed[image.name] = error
            invocation.say(f"{what} failed: {error}")
            continue
        done.append(slide)
        invocation.say(f"{what}: {_told(slide)}.")
    _require_all(done, failed, len(images))
    return done


def _require_all(
    done: Sequence[EncodedSlide], failed: dict[str, PathquorumError], slides: int
) -> None:
    """Say of the whole run what is not there."""
    if failed:
        named = ", ".join(repr(name) for name in list(failed)[:_NAMED])
        named += f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        reason = str(next(iter(failed.values())))
        raise TileError(
            f"{len(failed)} of {slides} slides were not encoded: {named} ({reason}); the others are "
            "done and stay when you run it again",
            slides=tuple(failed),
        )
    incomplete = [slide for slide in done if slide.missing]
    if incomplete:
        raise TileError(
            f"all slides are encoded, without {counted(sum(s.missing for s in incomplete), 'tile')} "
            f"that can't be read, of {', '.join(repr(s.slide) for s in incomplete[:_NAMED])}; copy "
            "these slides again from their source",
            slides=tuple(slide.slide for slide in incomplete),
        )


def _notes(encoder: Encoder, settings: TileSettings) -> list[str]:
    notes = list(encoder.notes)
    if settings.size_px != encoder.spec.input_px:
        seen = settings.mpp * settings.size_px / encoder.spec.input_px
        notes.append(
            f"tiles of {settings.size_px} px go in at {encoder.spec.input_px} px: the encoder sees "
            f"{seen:.4g} microns per pixel"
        )
    return notes


def _told(slide: EncodedSlide) -> str:
    tiles = counted(slide.tiles, "tile")
    if slide.state == "kept":
        return f"kept, {tiles}"
    missing = f", {slide.missing} could not be read" if slide.missing else ""
    why = f", made again: {slide.reason}" if slide.reason else ""
    return f"{tiles} in {slide.elapsed_s:.1f} s{missing}{why}"


class _Told:
    """Tells how far something is, every ten seconds."""

    def __init__(self, invocation: Invocation, what: str, unit: str) -> None:
        self._invocation, self._what, self._unit = invocation, what, unit
        self._last_s = time.monotonic()

    def __call__(self, done: int, total: int, *_: float) -> None:
        if time.monotonic() - self._last_s >= _TOLD_EVERY_S:
            self._last_s = time.monotonic()
            self._invocation.say(f"{self._what}: {done:,} of {total:,} {self._unit}")


def _show(console: Console, done: Sequence[EncodedSlide], to: Path) -> None:
    rows: list[list[object]] = [[slide.slide, slide.state, slide.tiles] for slide in done]
    console.print(table(None, "slide", "state", "tiles", rows=rows))
    console.print(f"{counted(len(done), 'slide')} in {to}", soft_wrap=True)
