"""The models that predict together, and the passes that they make of a slide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from annotation.errors import InputError
from models.errors import ModelFileError
from models.model_file import TrainedModel
from models.prediction.dropout import Shared, thinned
from models.prediction.settings import ENSEMBLE, MC_DROPOUT, PredictionSettings
from models.prediction.slide_file import Kind
from models.training.request import NETWORKS

__all__ = ["Pass", "kind_of", "passes_of", "require_together"]

_OF_INPUT = ("kind", "encoder_sha256", "precision", "mpp", "size_px", "tiling_sha256")


@dataclass(frozen=True)
class Pass:
    """One way through a model: as it was trained, or, with a seed, thinned by dropout."""

    model: TrainedModel
    seed: int | None = None

    @property
    def temperature(self) -> float:
        """By which the model's logits are divided."""
        return self.model.description.temperature

    @contextmanager
    def network(self, shared: Shared) -> Iterator[torch.nn.Module]:
        """The network of this pass, within the block."""
        if self.seed is None:
            yield self.model.network
            return
        with thinned(self.model.network, self.seed, shared=shared):
            yield self.model.network


def kind_of(model: TrainedModel) -> Kind:
    """What a model learnt from.

    Raises
    ------
    ModelFileError
        Its architecture is none that `train` offers.
    """
    architecture = model.description.architecture
    if architecture not in NETWORKS:
        raise ModelFileError(
            f"a model of architecture {architecture!r} can't predict slides; take one of "
            f"{', '.join(NETWORKS)}",
            architecture=architecture,
        )
    return NETWORKS[architecture]  # type: ignore[return-value]


def require_together(members: Sequence[TrainedModel], settings: PredictionSettings) -> None:
    """Refuse models that can't predict together, or not in this way.

    Raises
    ------
    InputError
        The number of models doesn't fit the method, or dropout is asked of a model without any.
    ModelFileError
        They are of other classes, or take other input.
    """
    if settings.method == ENSEMBLE and len(members) < 2:
        raise InputError("an ensemble is of two models or more; give --model again for each")
    if settings.method != ENSEMBLE and len(members) != 1:
        raise InputError(
            f"{len(members)} models are an ensemble, and uncertainty is to be "
            f"{settings.method!r}; take --uncertainty ensemble, or one model"
        )
    first = members[0].description
    for member in members[1:]:
        other = member.description
        for what, one, two in (
            ("classes", first.classes, other.classes),
            ("kind", kind_of(members[0]), kind_of(member)),
            *((name, first.input.get(name), other.input.get(name)) for name in _OF_INPUT),
        ):
            if one != two:
                raise ModelFileError(
                    f"the models {first.weights_sha256[:12]} and {other.weights_sha256[:12]} differ "
                    f"in {what} ({one} and {two}); an ensemble has models of the same classes and "
                    "input"
                )


def passes_of(
    members: Sequence[TrainedModel], settings: PredictionSettings, seed: int
) -> list[Pass]:
    """The passes of a slide; ``seed`` is the slide's own."""
    if settings.method != MC_DROPOUT:
        return [Pass(member) for member in members]
    seeds = np.random.SeedSequence(seed).generate_state(settings.passes, np.uint64)
    return [Pass(members[0], int(one >> np.uint64(1))) for one in seeds]
