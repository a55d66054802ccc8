"""Weights of encoders: where they lie, how they are read, and a digest over them.

Files of PyTorch are pickles: they are read with ``weights_only``, which builds tensors and plain
containers and calls nothing that a file names.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from models.encoders.spec import EncoderSpec
from models.errors import MissingWeightsError, ModelFileError
from models.extras import needs

__all__ = ["Weights", "digest_of", "fetch_weights", "find_weights", "read_weights"]

_USUAL_NAMES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
# Under these names training scripts keep the weights among other things.
_WRAPPERS = ("state_dict", "model", "teacher")
_LARGEST_FILE_BYTES = 64 << 30


@dataclass(frozen=True)
class Weights:
    """Tensors by the names that the network gives them, and what else the file says."""

    path: Path
    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def find_weights(place: Path) -> Path:
    """Return the file with the weights: the one named, or the one in a folder.

    Raises
    ------
    MissingWeightsError
        There is none.
    ModelFileError
        There are several, and none bears a usual name.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise MissingWeightsError(
            f"there are no weights at {str(place)!r}; check --weights", path=place
        )
    for name in _USUAL_NAMES:
        if (place / name).is_file():
            return place / name
    found = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES)
    if not found:
        raise MissingWeightsError(
            f"the folder {str(place)!r} holds no weights ({', '.join(_USUAL_NAMES)}); put them "
            "there, or name their file with --weights",
            path=place,
        )
    if len(found) > 1:
        raise ModelFileError(
            f"the folder {str(place)!r} holds several files of weights "
            f"({', '.join(file.name for file in found[:4])}); name one with --weights",
            path=place,
        )
    return found[0]


def fetch_weights(spec: EncoderSpec) -> Path:
    """Fetch an encoder's weights from its page with the user's own access, or find them kept.

    The user's token stays with the hub's own library, which finds it in the user's environment.

    Raises
    ------
    MissingWeightsError
        No page, no access, or no connection; says where to accept the licence.
    """
    if spec.hub is None:
        raise MissingWeightsError(
            f"encoder {spec.name!r} names no page with its weights; name their folder with "
            "--weights DIR",
            encoder=spec.name,
        )
    hub = needs("huggingface_hub", "encoders")
    errors = needs("huggingface_hub.errors", "encoders")
    for name in _USUAL_NAMES:
        try:
            return Path(hub.hf_hub_download(spec.hub, name))
        except errors.GatedRepoError:
            reason = "its licence isn't accepted yet, or no access token is set (`hf auth login`)"
        except errors.RepositoryNotFoundError:
            reason = "the page isn't there, or can't be seen without an access token"
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            # Before the next, of which the first is a kind.
            reason = "there is no connection, and no copy is kept here"
        except errors.EntryNotFoundError:
            reason = f"its page has neither {' nor '.join(_USUAL_NAMES)}"
            continue
        except (OSError, getattr(errors, "HTTPError", OSError)) as error:
            # Its text may quote the request; its kind says enough.
            reason = f"fetching them failed ({type(error).__name__})"
        break
    raise MissingWeightsError(
        f"there are no weights of encoder {spec.name!r}: {reason}; accept its terms at "
        f"https://huggingface.co/{spec.hub} and sign in, or name a folder with --weights DIR",
        encoder=spec.name,
        hub=spec.hub,
    )


def read_weights(path: Path) -> Weights:
    """Read a file of weights; nothing in it is executed.

    Raises
    ------
    ModelFileError
        It is no file of weights, or one that would run code, or that is cut short.
    """
    if path.stat().st_size > _LARGEST_FILE_BYTES:
        raise ModelFileError(
            f"{str(path)!r} is too large to be weights; check --weights", path=path
        )
    if path.suffix == ".safetensors":
        tensors, metadata = _from_safetensors(path)
    else:
        tensors, metadata = _from_pickle(path), {}
    return Weights(path, tensors, metadata)


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and values of tensors, in hexadecimal."""
    digest = hashlib.sha256(b"pathquorum weights 1\n")
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _from_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"{str(path)!r} is no file of safetensors, or was cut short ({error}); fetch it again",
            path=path,
        ) from None


def _from_pickle(path: Path) -> dict[str, torch.Tensor]:
    _refuse_compressed(path)
    try:
        with warnings.catch_warnings():
            # Of another protocol than PyTorch's own it warns; it reads the file, or refuses it.
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelFileError(
            f"{str(path)!r} holds more than weights, or none, and was not loaded, for it could run "
            "code; fetch the weights as safetensors",
            path=path,
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelFileError(
            f"{str(path)!r} is no file of PyTorch weights, or was cut short; fetch it again",
            path=path,
        ) from None
    while isinstance(loaded, dict) and (
        inner := next((loaded[n] for n in _WRAPPERS if isinstance(loaded.get(n), dict)), None)
    ):
        loaded = inner
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in loaded.items()
    ):
        raise ModelFileError(
            f"{str(path)!r} is no mapping of names to tensors; fetch the weights alone", path=path
        )
    return loaded


def _refuse_compressed(path: Path) -> None:
    """PyTorch stores tensors as they are; what is compressed may be of any size unpacked."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError):
        raise ModelFileError(
            f"{str(path)!r} is a broken archive; fetch it again", path=path
        ) from None
    unpacked = math.fsum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or unpacked > (
        path.stat().st_size
    ):
        raise ModelFileError(
            f"{str(path)!r} is compressed, which PyTorch's files are not; fetch it again", path=path
        )
