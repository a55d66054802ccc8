"""nnU-Net v2, the bar to compare with: its own programs train on an exported release and predict.

It runs in processes of its own, from whatever environment it is installed in; its pickled files are
left to it. A work folder holds its three folders (raw data, preprocessed data, results) and a log of
each program.

References
----------
Isensee et al. (2021), doi:10.1038/s41592-020-01008-z; https://github.com/MIC-DKFZ/nnUNet, whose
documentation gives the layout, the programs and their options.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.errors import ModelFileError, TrainingError

__all__ = ["NnUNet", "Prediction", "exported_dataset", "read_prediction"]

Device = Literal["cpu", "cuda", "mps"]

SPLITS = "splits_final.json"
DESCRIPTION = "dataset.json"

_LARGEST_JSON = 64 * 1024**2
_LARGEST_ARRAY = 4 * 1024**3
_LARGEST_LOG = 64 * 1024**2
_LAST_LINES = 20


@dataclass(frozen=True)
class NnUNet:
    """nnU-Net in a work folder.

    Attributes
    ----------
    work
        Gets its folders and logs; may be there already, from an earlier call.
    programs
        The folder that holds ``nnUNetv2_train`` and the others; None searches ``PATH``.
    device
        Where it computes.
    processes
        That load data, at once.
    """

    work: Path
    programs: Path | None = None
    device: Device = "cpu"
    processes: int = 2

    def prepare(self, exported: Path, *, configuration: str = "2d") -> Path:
        """Take a release's export in, plan and preprocess it.

        Parameters
        ----------
        exported
            What ``release export --format nnunet`` wrote.

        Returns
        -------
        The dataset's folder among the raw data.

        Raises
        ------
        InputError
            No such export, or no nnU-Net.
        TrainingError
            nnU-Net gave up; names the log.
        """
        dataset = exported_dataset(exported)
        raw = self.work / "raw" / dataset.name
        if not raw.exists():
            raw.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(dataset, raw)
        self._run(
            "plan_and_preprocess",
            "-d", _number(raw), "-c", configuration, "--verify_dataset_integrity",
            "-np", str(self.processes), "-npfp", str(self.processes),
        )  # fmt: skip
        # Its own random folds would put tiles of one patient on both sides.
        shutil.copyfile(raw / SPLITS, self.work / "preprocessed" / raw.name / SPLITS)
        return raw

    def train(
        self,
        raw: Path,
        *,
        fold: int = 0,
        configuration: str = "2d",
        trainer: str = "nnUNetTrainer",
        resume: bool = False,
    ) -> None:
        """Train one fold of our split.

        Parameters
        ----------
        trainer
            A trainer of nnU-Net's: ``nnUNetTrainer`` for 1,000 epochs, ``nnUNetTrainer_5epochs``, ...
        resume
            Go on from its last checkpoint.
        """
        self._run(
            "train", _number(raw), configuration, str(fold), "-tr", trainer, "-device", self.device,
            *(["--c"] if resume else []),
        )  # fmt: skip

    def predict(
        self,
        raw: Path,
        images: Path,
        to: Path,
        *,
        fold: int = 0,
        configuration: str = "2d",
        trainer: str = "nnUNetTrainer",
    ) -> list[Prediction]:
        """Predict a folder of images, and say where the predictions lie.

        Parameters
        ----------
        images
            PNG files as the export has them, such as its ``imagesTs``.
        to
            A folder for what nnU-Net writes.

        Raises
        ------
        TrainingError
            nnU-Net gave up, or left an image out.
        """
        to.mkdir(parents=True, exist_ok=True)
        self._run(
            "predict", "-i", str(images), "-o", str(to), "-d", _number(raw), "-c", configuration,
            "-f", str(fold), "-tr", trainer, "-device", self.device, "--save_probabilities",
            "-npp", str(self.processes), "-nps", str(self.processes),
        )  # fmt: skip
        classes = _classes(raw)
        cases = sorted({path.name.rsplit("_", 1)[0] for path in images.glob("*_0000.png")})
        for case in cases:
            if not (to / f"{case}.npz").is_file():
                raise TrainingError(
                    f"nnU-Net left the case {case!r} out; see {self._log('predict')}", case=case
                )
        return [Prediction(case, to / f"{case}.npz", classes) for case in cases]

    def _log(self, program: str) -> Path:
        return self.work / "logs" / f"{program}.log"

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of its programs to its end, with its output in a log."""
        name = f"nnUNetv2_{program}"
        where = None if self.programs is None else str(self.programs)
        found = shutil.which(name, path=where)
        if found is None:
            raise InputError(
                f"{name} was not found in {where or 'PATH'}; install nnunetv2 into an environment "
                "and give the folder of its programs",
                program=name,
            )
        environment = {
            **os.environ,
            **{
                f"nnUNet_{kind}": str(self._made(kind))
                for kind in ("raw", "preprocessed", "results")
            },
            "nnUNet_n_proc_DA": str(self.processes),
            "nnUNet_compile": "f",  # compiling takes longer than small datasets train
        }
        log = self._log(program)
        log.parent.mkdir(parents=True, exist_ok=True)
        last: deque[str] = deque(maxlen=_LAST_LINES)
        with (
            log.open("w", encoding="utf-8") as stream,
            subprocess.Popen(  # noqa: S603 - a program that was looked up, and no shell
                [found, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            written = 0
            for line in process.stdout:
                last.append(line.strip())
                written += len(line)
                if written <= _LARGEST_LOG:
                    stream.write(line)
                    stream.flush()
            status = process.wait()
        if status != 0:
            said = next((line for line in reversed(last) if line), "nothing")
            raise TrainingError(
                f"{name} ended with status {status} and said {said[:200]!r}; see {log}",
                program=name,
                status=status,
            )

    def _made(self, kind: str) -> Path:
        folder = (self.work / kind).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Prediction:
    """What nnU-Net predicted of one case: a file, and what its classes are."""

    case: str
    file: Path
    classes: tuple[str, ...]

    def read(self) -> NDArray[np.float32]:
        """Class probabilities (K, h, w); see `read_prediction`."""
        return read_prediction(self.file, len(self.classes))


def read_prediction(path: Path, classes: int) -> NDArray[np.float32]:
    """Class probabilities (K, h, w) out of an ``.npz`` of nnU-Net's.

    Raises
    ------
    ModelFileError
        Not such a file, too large, of another number of classes, or no probabilities.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST_ARRAY:
            raise ModelFileError(
                f"{path} holds {size / 1024**3:.1f} GiB; predict smaller tiles", path=path
            )
        with np.load(path, allow_pickle=False) as arrays:
            found = np.asarray(arrays["probabilities"], dtype=np.float32)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} is no prediction of nnU-Net with probabilities: {error}", path=path
        ) from error
    if found.ndim == 4 and found.shape[1] == 1:  # it takes pictures for volumes of one slice
        found = found[:, 0]
    if found.ndim != 3 or len(found) != classes:
        raise ModelFileError(
            f"{path} holds an array of shape {found.shape}, not of {classes} classes; predict with "
            "the dataset that the model was trained on",
            path=path,
        )
    if not np.allclose(found.sum(axis=0), 1, atol=1e-2):
        raise ModelFileError(f"{path} holds no probabilities: they don't sum to 1", path=path)
    return found


def exported_dataset(exported: Path) -> Path:
    """The dataset's folder in an export: its own, or the one ``DatasetXXX_Name`` in it."""
    found = (
        [exported] if (exported / DESCRIPTION).is_file() else sorted(exported.glob("Dataset*_*"))
    )
    found = [folder for folder in found if (folder / DESCRIPTION).is_file()]
    if len(found) != 1:
        raise InputError(
            f"{exported} holds {len(found)} datasets of nnU-Net; give what `pathquorum release "
            "export --format nnunet` wrote",
            path=exported,
        )
    return found[0]


def _classes(raw: Path) -> tuple[str, ...]:
    """What the channels of a prediction are: all labels by their value but ``ignore``."""
    labels: dict[str, Any] = _json(raw / DESCRIPTION)["labels"]
    named = sorted((value, name) for name, value in labels.items() if name != "ignore")
    return tuple(name for _, name in named)


def _json(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_JSON + 1)
    if len(content) > _LARGEST_JSON:
        raise InputError(f"{path} is longer than {_LARGEST_JSON // 1024**2} MiB", path=path)
    document: dict[str, Any] = msgspec.json.decode(content)
    return document


def _number(raw: Path) -> str:
    return str(int(raw.name.removeprefix("Dataset").partition("_")[0]))
