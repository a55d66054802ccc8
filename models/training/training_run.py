"""A training from a release to models on record, beside the baseline that it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from annotation.store import Store
from consensus.release import find_release
from models.datasets.partition import require_two_classes
from models.datasets.releases import open_training_release
from models.model_file import ModelDescription, save_model
from models.noise.trainer import FINAL
from models.registry import register_model, require_free
from models.training.curves import write_curves
from models.training.history import History
from models.training.learnable import TRAIN, Learnable
from models.training.loop import Progress
from models.training.out_of_fold import write_out_of_fold
from models.training.request import TrainingRequest
from models.training.run_folder import RunFolder, Stages
from models.training.stopping import Stop, listening

__all__ = ["MAJORITY", "train"]

MAJORITY = "majority"
"""The method of the baseline: cross-entropy on the labels of the majority and the adjudicator."""

Watch = Callable[[str, str], Progress]


@dataclass(frozen=True)
class _Trained:
    """A model in its folder, and how it came about."""

    name: str
    folder: Path
    description: ModelDescription
    history: History
    items: int

    def to_dict(self) -> dict[str, Any]:
        """What is printed of it."""
        return {
            "model": self.name,
            "folder": str(self.folder),
            "method": self.description.method,
            "items": self.items,
            "epochs": len(self.history.epochs),
            "ended": self.history.ended,
            "best_epoch": self.history.best + 1,
            "loss": self.history.epochs[-1].loss,
            "halved_batches": self.history.halved,
            "metrics": self.description.metrics,
            "out_of_fold": self.description.out_of_fold_sha256 is not None,
            "weights_sha256": self.description.weights_sha256,
        }


def train(
    store: Store, request: TrainingRequest, *, say: Callable[[str], None], watch: Watch
) -> dict[str, Any]:
    """Train, save, put on record; the document of ``train --json``.

    Parameters
    ----------
    say
        Told what a person must know before it begins.
    watch
        Makes what is told after each batch, from the method and its stage.

    Raises
    ------
    ConflictError
        The name is taken, or the folder holds a training that nobody asked to go on with.
    TrainingError
        One class only, or what :func:`models.training.loop.fit` says.
    TrainingStoppedError
        SIGTERM or SIGUSR1 came; what was done is kept.
    """
    baseline_name = f"{request.name}-{MAJORITY}"
    with_baseline = request.baseline and request.method != MAJORITY
    with store.reading() as session:
        for name in (request.name, *([baseline_name] if with_baseline else [])):
            require_free(session, name)
        release = open_training_release(session, request.release)
        learnable = request.learnable(release)
        manifest_sha256 = release.manifest_sha256
    targets = learnable.targets
    require_two_classes(targets, targets.indices_of(TRAIN), TRAIN)
    memory_bytes = learnable.memory_bytes(request.settings)
    run = RunFolder(request.folder, resume=request.resume)
    if memory_bytes is not None:
        say(f"a step with the largest bags takes about {memory_bytes / 1024**2:,.0f} MiB of memory")
    for note in learnable.notes:
        say(f"note: {note}")
    described = ModelDescription(
        architecture=request.architecture,
        arguments=learnable.arguments,
        classes=list(targets.classes),
        ordered=targets.ordered,
        input=learnable.input,
        release=request.release,
        manifest_sha256=manifest_sha256,
        split=learnable.split,
        method=request.method,
        training=request.settings.to_dict(),
        notes=list(learnable.notes),
    )
    run.begin(request.settings, _frozen(described, request.n_folds))
    with listening(wanted=True) as stop:
        made = _train(
            request, learnable, run, described, request.name, run.folder, watch, stop,
            n_folds=request.n_folds,
        )  # fmt: skip
        baseline = None
        if with_baseline:
            described = msgspec.structs.replace(described, method=MAJORITY)
            baseline = _train(
                request, learnable, run, described, baseline_name, run.baseline, watch, stop
            )
    with store.writing() as session:
        row = find_release(session, request.release)
        beside = None
        for one in (baseline, made):
            if one is not None:
                beside = register_model(
                    session, one.name, row, one.description, one.folder, baseline=beside
                )
    run.done()
    return {
        **made.to_dict(),
        "release": request.release,
        "manifest_sha256": manifest_sha256,
        "architecture": request.architecture,
        "baseline": None if baseline is None else baseline.to_dict(),
        "slides": {part: len(slides) for part, slides in described.split.items()},
        "left_out_site": request.site,
        "skipped": [{"slide": name, "reason": reason} for name, reason in learnable.skipped],
        "notes": described.notes,
    }


def _train(
    request: TrainingRequest,
    learnable: Learnable,
    run: RunFolder,
    described: ModelDescription,
    name: str,
    folder: Path,
    watch: Watch,
    stop: Stop,
    *,
    n_folds: int | None = None,
) -> _Trained:
    """Train by the method that the description names, and save the model."""
    method = described.method
    stages = Stages(
        folder=run.checkpoints_of(method),
        settings=request.settings,
        frozen=_frozen(described, n_folds),
        watch=lambda stage: watch(method, stage),
        stop=stop,
    )
    learnt = learnable.learn(method, request.settings, request.device, stages, n_folds=n_folds)
    metrics = learnable.figures(learnt.network)
    kept_sha256 = None if learnt.kept is None else write_out_of_fold(folder, learnt.kept)
    description = save_model(
        folder,
        learnt.network,
        msgspec.structs.replace(
            described, found=learnt.found, metrics=metrics, out_of_fold_sha256=kept_sha256
        ),
    )
    write_curves(folder, stages.histories)
    return _Trained(name, folder, description, stages.histories[FINAL], learnt.items)


def _frozen(described: ModelDescription, n_folds: int | None) -> dict[str, Any]:
    """What must be the same for a training to go on, beside its settings."""
    return {
        **({} if n_folds is None else {"out_of_fold": n_folds}),
        "release": {"name": described.release, "manifest_sha256": described.manifest_sha256},
        "split": described.split,
        "method": described.method,
        "model": {"architecture": described.architecture, "arguments": described.arguments},
        "input": described.input,
        "code_version": described.code_version,
    }
