"""What models said of a training's own items without having seen their patients, on disk.

The file ``out-of-fold.safetensors`` lies beside a model. Its digest stands in the model's description,
and nothing in it is unpickled.

Shapes: n items, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from annotation.paths import replacing
from models.errors import ModelFileError

__all__ = ["FILE", "FINAL_MODEL", "KeptPredictions", "read_out_of_fold", "write_out_of_fold"]

FILE = "out-of-fold.safetensors"
_KEY = "about"

FINAL_MODEL = -1
"""Stands for a fold where the final model itself has not learnt from an item."""

_LARGEST_BYTES = 4 * 1024**3
_LARGEST_NAMES = 64 * 1024**2


class _About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says of itself, as JSON."""

    slides: list[str]
    format: Literal["pathquorum-out-of-fold/1"] = "pathquorum-out-of-fold/1"


@dataclass(frozen=True, eq=False)
class KeptPredictions:
    """Predictions of items, and which items they are of.

    Attributes
    ----------
    slides
        Names.
    slide : shape (n,)
        Which of them each item lies on.
    corner_px : shape (n, 2)
        Upper left corner of a tile in level-0 px; NaN of a whole slide.
    fold : shape (n,)
        The fold whose model, trained on all others, says it; or the final model.
    probabilities : shape (n, K)
    """

    slides: Sequence[str]
    slide: NDArray[np.int64]
    corner_px: NDArray[np.float64]
    fold: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def write_out_of_fold(folder: Path, kept: KeptPredictions) -> str:
    """Write the file beside a model, whole or not at all, and return its SHA-256."""
    with replacing(folder / FILE) as temporary:
        save_file(
            {
                "slide": kept.slide.astype(np.int64),
                "corner_px": np.ascontiguousarray(kept.corner_px, np.float64),
                "fold": kept.fold.astype(np.int64),
                "probabilities": np.ascontiguousarray(kept.probabilities, np.float32),
            },
            temporary,
            # One key: of several the file's writer draws the order, and bytes would differ.
            metadata={_KEY: msgspec.json.encode(_About(slides=list(kept.slides))).decode()},
        )
        return _sha256(temporary)


def read_out_of_fold(folder: Path, sha256: str, n_classes: int) -> KeptPredictions:
    """Read the file beside a model.

    Parameters
    ----------
    sha256
        What the model's description says of it.
    n_classes
        K.

    Raises
    ------
    ModelFileError
        Absent, another one, or not of this format.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > _LARGEST_BYTES or _sha256(path) != sha256:
            raise ModelFileError(
                f"{path} is not the file that the model's description tells of; copy the whole "
                "folder again",
                path=path,
            )
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY, "")
            if len(text) > _LARGEST_NAMES:
                raise _not_ours(path)
            slides = msgspec.json.decode(text, type=_About).slides
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            kept = KeptPredictions(slides=slides, **arrays)
    except OSError as error:
        raise ModelFileError(
            f"{path} can't be read ({error.strerror}); copy the whole folder again", path=path
        ) from error
    except (SafetensorError, msgspec.DecodeError, TypeError) as error:
        raise _not_ours(path) from error
    n = len(kept.slide)
    fits = (
        kept.probabilities.shape == (n, n_classes)
        and kept.corner_px.shape == (n, 2)
        and kept.fold.shape == kept.slide.shape == (n,)
        and np.isfinite(kept.probabilities).all()
        and (n == 0 or 0 <= kept.slide.min() <= kept.slide.max() < len(slides))
    )
    if not fits:
        raise _not_ours(path)
    return kept


def _not_ours(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} does not hold predictions of this version; train the model again", path=path
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
