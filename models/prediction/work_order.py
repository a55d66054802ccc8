"""What a worker must know to begin: the store, the run, its models, and how they predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from annotation.store import SOFTWARE_VERSION
from models.errors import ModelFileError
from models.prediction.claims import LEASE_S
from models.slide_image import SlideImage

if TYPE_CHECKING:
    from models.encoders.encoder import Encoder
    from models.encoders.spec import Precision
    from models.prediction.predictor import Predicted
    from models.prediction.settings import PredictionSettings

__all__ = [
    "EncoderChoice",
    "Explain",
    "Member",
    "Predicts",
    "WorkOrder",
    "open_predictor",
    "refuse_other_version",
]


class Predicts(Protocol):
    """What predicts one slide after the other; see :class:`models.prediction.predictor.Predictor`."""

    def predict(
        self, image: SlideImage, progress: Callable[[int, int], None] | None = None
    ) -> Predicted:
        """Predict a slide, telling how many of its tiles are done."""
        ...


@dataclass(frozen=True)
class Member:
    """A model of the ensemble, and what it must be: all of it decides the output.

    Attributes
    ----------
    name
        On record.
    """

    name: str
    folder: Path
    weights_sha256: str
    temperature: float

    def to_dict(self) -> dict[str, object]:
        """As the run keeps it."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "temperature": self.temperature,
        }


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder that is asked for, as `encode` takes it."""

    name: str | None
    weights: Path | None
    precision: Precision | None = None


@dataclass(frozen=True)
class Explain:
    """Pages that are asked for; see :mod:`models.prediction.explanations`.

    Attributes
    ----------
    release
        Whose annotations attention is held against.
    features
        Of the training part, among which the nearest tiles are looked for.
    """

    folder: Path
    release: str | None = None
    features: Path | None = None


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """Everything a worker starts from; it crosses into other processes and onto other machines.

    Attributes
    ----------
    store_url
        With its password, so it is never shown.
    session
        Of the supervisor, see :class:`models.prediction.worker_names.WorkerName`.
    run, folder
        The number of the run and where its files go.
    device
        Where to compute, as torch calls it.
    places
        Where images lie now, by slide, of those that lie elsewhere than the store says.
    explain
        Pages that are asked for.
    log_json
        Whether logs are JSON lines.
    opening
        Makes the predictor; a function of a module, so that other processes find it.
    software_version
        Which a worker must have too.
    """

    store_url: str = field(repr=False)
    session: str
    run: int
    folder: Path
    members: tuple[Member, ...]
    settings: PredictionSettings
    encoder: EncoderChoice | None
    device: str
    places: Mapping[int, str] = field(default_factory=dict, repr=False)
    lease_s: float = LEASE_S
    explain: Explain | None = None
    log_json: bool = False
    opening: Callable[[WorkOrder], Predicts]
    software_version: str = SOFTWARE_VERSION


def open_predictor(order: WorkOrder) -> Predicts:
    """Load the models and the encoder of an order.

    Raises
    ------
    ModelFileError
        What lies in a member's folder is not what the run began with.
    """
    import torch

    from models.model_file import load_model
    from models.prediction.predictor import Predictor
    from models.training.devices import device_named

    # The same sums in the same order however many workers there are.
    torch.set_num_threads(1)
    device = device_named(order.device)
    members = [load_model(member.folder, device=device) for member in order.members]
    for member, trained in zip(order.members, members, strict=True):
        found = trained.description
        if (found.weights_sha256, found.temperature) != (member.weights_sha256, member.temperature):
            raise ModelFileError(
                f"the model {member.name!r} in {member.folder} changed after the run began; bring "
                "it back, or predict into another folder",
                model=member.name,
            )
    return Predictor.open(
        members, encoder=_encoder(order.encoder, device), settings=order.settings, device=device
    )


def _encoder(choice: EncoderChoice | None, device: str) -> Encoder | None:
    from models.encoders.choosing import ready_encoder

    if choice is None:
        return None
    return ready_encoder(
        choice.name,
        weights=choice.weights,
        random_weights=False,
        seed=0,
        device=device,
        precision=choice.precision,
    )


def refuse_other_version(order: WorkOrder) -> None:
    """Refuse to work for a supervisor of another version.

    Raises
    ------
    ModelFileError
        With both versions.
    """
    if order.software_version != SOFTWARE_VERSION:
        raise ModelFileError(
            f"this worker runs pathquorum {SOFTWARE_VERSION} and was started by "
            f"{order.software_version}; install the same version everywhere"
        )
