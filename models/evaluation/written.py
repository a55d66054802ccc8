"""An evaluation on disk: its document, the model card and the reliability curve; and on record."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.paths import replacing, require_no_file
from annotation.push import PushResult, push
from annotation.store import Store, now
from annotation.tables import Event
from consensus.release import find_release
from models.evaluation.card import collect_card, render_card
from models.evaluation.chosen_model import ChosenModel, baseline_of, choose_model
from models.evaluation.evaluation import Request, evaluate
from models.evaluation.review_list import review_objects, review_origin, review_table
from models.model_file import describe

__all__ = [
    "CARD",
    "DOCUMENT",
    "MODEL_EVALUATED",
    "RELIABILITY",
    "REVIEW",
    "WrittenEvaluation",
    "write_evaluation",
]

MODEL_EVALUATED = "model evaluated"
DOCUMENT, CARD, RELIABILITY = "evaluation.json", "card.html", "reliability.svg"
REVIEW = "review.csv"


@dataclass(frozen=True)
class WrittenEvaluation:
    """An evaluation in its folder; ``reviewed`` tells of what was written for QuPath."""

    document: dict[str, Any]
    folder: Path
    reviewed: PushResult | None = None


def write_evaluation(
    store: Store,
    model: str,
    request: Request,
    folder: Path,
    *,
    baseline: str | None = None,
    review: Path | None = None,
    device: str = "cpu",
) -> WrittenEvaluation:
    """Evaluate a model, write what was found, and record that it was looked at.

    Parameters
    ----------
    model, baseline
        Folders, or names of models on record. Without a baseline the one on record is taken.
    folder
        Files that are there are replaced.
    review
        A project, or a folder for GeoJSON, that what is doubted is written into for QuPath.

    Raises
    ------
    InputError
        Where the folder should be stands a file.
    PathquorumError
        As :func:`models.evaluation.evaluation.evaluate` says.
    """
    require_no_file(folder)
    with store.reading() as session:
        chosen = choose_model(session, model, device)
        beside = baseline_of(session, chosen, baseline, device)
        found = evaluate(session, chosen, beside, request)
        release = find_release(session, request.release)
        subject = f"release:{release.id}"
        described = chosen.trained.description
        document = {
            "model": _identity(chosen),
            **found.document,
            "split": described.split,
            "earlier": _earlier(session, subject, request.part),
            "files": {
                "document": DOCUMENT,
                "card": CARD,
                "reliability": RELIABILITY,
                "review": REVIEW,
            },
        }
        card = collect_card(session, chosen, found.release, document, now())
        page = render_card(card).encode()
        origin = review_origin(described.weights_sha256, document["manifest_sha256"], request.part)
        outlines = [] if review is None else review_objects(session, origin, found.doubts)
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    contents = {DOCUMENT: encoded, CARD: page, RELIABILITY: card.reliability_svg}
    contents[REVIEW] = review_table(document["label_issues"])
    with ExitStack() as files:
        for name, content in contents.items():
            files.enter_context(replacing(folder / name)).write_bytes(content)
        with store.writing() as session:
            record(
                session,
                actor=None,
                action=MODEL_EVALUATED,
                subject=subject,
                new={
                    "model": chosen.name,
                    "weights_sha256": described.weights_sha256,
                    "part": request.part,
                    "document_sha256": hashlib.sha256(encoded).hexdigest(),
                    "temperature": document["temperature"],
                },
            )
            if request.calibrate:
                # Last within the transaction: without it the record goes too.
                describe(
                    chosen.folder,
                    msgspec.structs.replace(described, temperature=document["temperature"]),
                )
    if review is None:
        return WrittenEvaluation(document, folder)
    return WrittenEvaluation(document, folder, push(store, review, origin, outlines))


def _identity(model: ChosenModel) -> dict[str, Any]:
    described = model.trained.description
    return {
        "name": model.name,
        "architecture": described.architecture,
        "method": described.method,
        "weights_sha256": described.weights_sha256,
        "code_version": described.code_version,
        "encoder": described.input.get("encoder"),
        "encoder_sha256": described.input.get("encoder_sha256"),
    }


def _earlier(session: Session, subject: str, part: str) -> int:
    """How often any model was evaluated on this part of the release before."""
    events = session.scalars(
        select(Event.new).where(Event.action == MODEL_EVALUATED, Event.subject == subject)
    )
    return sum(1 for new in events if new is not None and new.get("part") == part)
