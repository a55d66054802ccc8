"""A run of predictions from what was asked to its end: slides, models, workers, and what is told."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from annotation.errors import RefusedError
from annotation.store import Store
from annotation.stores.addresses import file_of, is_file
from annotation.terminal import counted
from consensus.processors import processors
from models.errors import PredictionError
from models.extras import needs
from models.prediction.chosen_members import choose_members
from models.prediction.chosen_slides import (
    ChosenSlides,
    all_slides,
    below,
    named_slides,
    of_release,
)
from models.prediction.claims import DONE, LEASE_S, Claims
from models.prediction.cluster_plan import ClusterPlan, LocalPlan
from models.prediction.rehearsal import rehearse
from models.prediction.run import BegunRun, begin_run, find_run
from models.prediction.run_history import RunHistory
from models.prediction.run_metrics import RunMetrics
from models.prediction.run_watch import RunWatch
from models.prediction.settings import PredictionSettings
from models.prediction.supervisor import supervise
from models.prediction.work_order import (
    EncoderChoice,
    Explain,
    Predicts,
    WorkOrder,
    open_predictor,
)
from models.prediction.workers import Limits
from models.training.devices import device_named
from models.training.stopping import Stop, listening

__all__ = ["PredictionRequest", "carry_out"]

_NAMED = 5
_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, kw_only=True)
class PredictionRequest:
    """What is asked.

    Attributes
    ----------
    models
        Names or folders; several are an ensemble.
    folder
        Of the run, which is called by its name.
    slides, release, part
        Names and paths, or a release and a part of it; neither means every slide of the store.
    slides_root
        Where images lie now; None: where they lay.
    encoder
        That made the features; None for models of pixels.
    workers, memory_bytes
        Processes, and the memory at which one is replaced; None: as the machine has them.
    stalled_s
        For so long a worker may show no progress.
    lease_s
        For so long a claim holds that nobody renews.
    cluster
        Where to work instead of this machine's own processes.
    device
        As torch calls it; `auto` is the GPU where a worker finds one.
    explain
        Pages that are asked for.
    metrics_file, metrics_port
        For Prometheus.
    opening
        Makes the predictor in each worker.
    """

    models: tuple[str, ...]
    settings: PredictionSettings
    folder: Path
    slides: tuple[str, ...] = ()
    release: str | None = None
    part: str | None = None
    slides_root: Path | None = None
    encoder: EncoderChoice | None = None
    workers: int | None = None
    memory_bytes: int | None = None
    stalled_s: float = 900.0
    lease_s: float = LEASE_S
    cluster: ClusterPlan | None = None
    device: str = "auto"
    explain: Explain | None = None
    metrics_file: Path | None = None
    metrics_port: int | None = None
    log_json: bool = False
    opening: Callable[[WorkOrder], Predicts] = open_predictor


def carry_out(
    store: Store, request: PredictionRequest, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Predict every slide that is asked for; the document of ``predict --json``.

    Raises
    ------
    PredictionError
        Slides failed; the others are done. Or nothing can be predicted at all.
    PredictionStoppedError
        A signal came; the run can go on.
    PathquorumError
        The models, slides or folder can't be used; nothing is on record then.
    """
    _refuse_file_for_many(store, request)
    with store.reading() as session:
        members, descriptions = choose_members(session, request.models)
        chosen = _chosen(session, request, say)
        known = find_run(session, request.folder.resolve().name) is not None
    order = WorkOrder(
        store_url=_reachable(store),
        session=secrets.token_hex(8),
        run=0,
        folder=request.folder.resolve(),
        members=members,
        settings=request.settings,
        encoder=_absolute(request.encoder),
        device=request.device,
        places=chosen.places,
        lease_s=request.lease_s,
        explain=request.explain,
        log_json=request.log_json,
        opening=request.opening,
    )
    if not known:
        # What can't be done shall leave no run behind: its name would be taken.
        rehearse(replace(order, device="cpu") if request.cluster is not None else order)
    metrics = None
    if request.metrics_file is not None or request.metrics_port is not None:
        metrics = RunMetrics(
            order.folder.name, file=request.metrics_file, port=request.metrics_port
        )
    begun = begin_run(
        store,
        request.folder,
        members,
        request.settings.to_dict(),
        request.settings.sha256,
        chosen.ids,
    )
    order = replace(order, run=begun.id)
    claims = Claims(store, begun.id, places=order.places, lease_s=order.lease_s)
    watch = RunWatch(
        begun,
        claims,
        RunHistory(store, begun.id),
        title=[
            (
                "Models",
                "; ".join(
                    f"{member.name} ({member.weights_sha256[:12]}, release {description.release})"
                    for member, description in zip(members, descriptions, strict=True)
                ),
            ),
            ("Uncertainty", request.settings.method),
        ],
        say=say,
        metrics=metrics,
    )
    _tell(begun, claims, say)
    try:
        with listening(wanted=True, interrupts=True) as stop:
            _supervise(order, claims, request, watch, stop, say)
    finally:
        watch.finished()
    _require_all(claims)
    return watch.document()


def _supervise(
    order: WorkOrder,
    claims: Claims,
    request: PredictionRequest,
    watch: RunWatch,
    stop: Stop,
    say: Callable[[str], None],
) -> None:
    """Work, by processes of this machine or on a cluster."""
    memory_bytes = request.memory_bytes
    if request.cluster is None or isinstance(request.cluster, LocalPlan):
        workers = _workers(request) if request.cluster is None else request.cluster.workers
        if memory_bytes is None:
            machine_bytes = int(needs("psutil", "models").virtual_memory().total)
            memory_bytes = int(_SHARE_OF_MEMORY * machine_bytes / workers)
        say(f"{counted(workers, 'worker')}, each replaced at {memory_bytes / 1e9:.1f} GB")
    limits = Limits(memory_bytes or sys.maxsize, request.stalled_s)
    if request.cluster is None:
        supervise(order, claims, workers, limits, watch, stop)
        return
    needs("distributed", "cluster")
    from models.prediction.cluster_supervisor import supervise_cluster

    supervise_cluster(order, claims, request.cluster, limits, watch, stop)


def _chosen(
    session: Session, request: PredictionRequest, say: Callable[[str], None]
) -> ChosenSlides:
    if request.slides:
        chosen = named_slides(session, request.slides, say)
    elif request.release is not None:
        chosen = of_release(session, request.release, request.part)
    else:
        chosen = all_slides(session)
    if request.slides_root is not None:
        chosen = below(session, chosen, request.slides_root.resolve())
    return chosen


def _refuse_file_for_many(store: Store, request: PredictionRequest) -> None:
    if (
        request.cluster is not None
        and not isinstance(request.cluster, LocalPlan)
        and is_file(store.engine.url)
    ):
        raise RefusedError(
            f"the workers of a cluster share their claims in the store, and {store.url} is a file "
            "of this machine; copy it to PostgreSQL with `pathquorum store copy`"
        )


def _reachable(store: Store) -> str:
    """The store's URL, with its password, as other processes open it from any folder."""
    url = store.engine.url
    if is_file(url):
        url = url.set(database=str(file_of(url).resolve()))
    return url.render_as_string(hide_password=False)


def _absolute(choice: EncoderChoice | None) -> EncoderChoice | None:
    if choice is None:
        return None
    name = choice.name
    if name is not None and Path(name).exists():
        name = str(Path(name).resolve())
    weights = None if choice.weights is None else choice.weights.resolve()
    return EncoderChoice(name, weights, choice.precision)


def _workers(request: PredictionRequest) -> int:
    if request.workers is not None:
        return request.workers
    return 1 if device_named(request.device) != "cpu" else processors()


def _tell(begun: BegunRun, claims: Claims, say: Callable[[str], None]) -> None:
    counts = claims.counts()
    kept = f"; {counts[DONE]:,} are done already" if counts[DONE] else ""
    again = f"; {begun.again:,} are predicted again" if begun.again else ""
    say(f"run {begun.id} ({begun.name}): {counted(sum(counts.values()), 'slide')}{kept}{again}")


def _require_all(claims: Claims) -> None:
    failures = claims.failures()
    if not failures:
        return
    named = ", ".join(repr(name) for name, _ in failures[:_NAMED])
    named += f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    total = sum(claims.counts().values())
    raise PredictionError(
        f"{len(failures)} of {counted(total, 'slide')} failed: {named} ({failures[0][1]}); the "
        "others are done and stay when you run it again",
        slides=tuple(name for name, _ in failures),
    )
