"""What people did with predictions: escalated slides, and decisions that overturn the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import shapely
from sqlalchemy import select

from annotation.lookup import find_annotator, find_protocol
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.tables import Slide
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute, PredictionRun
from models.drift.people import Adjudicated, overturned_share
from tests.models.drift.runs import (
    CLASSES,
    Drawn,
    Pathquorum,
    drawn_prediction,
    predict,
    released,
)


def test_the_model_is_held_to_what_was_decided_at_the_place() -> None:
    """Tiles 0 to 3 are benign to the model, 4 to 7 tumor; each place is judged by the tiles in it."""
    prediction = drawn_prediction(Drawn("S"), np.random.default_rng(0))
    result = {"predicted": "Benign"}

    def share(*places: Adjudicated) -> float:
        return overturned_share(places, result, prediction)

    left, right = shapely.box(0, 0, 390, 100), shapely.box(410, 0, 800, 100)
    sliver = shapely.box(640, 2, 645, 4)  # no tile's centre lies in it; the nearest is the seventh
    assert share(Adjudicated("Benign", left)) == 0
    assert share(Adjudicated("=Tumor", left)) == 1
    assert share(Adjudicated("=Tumor", right), Adjudicated("Benign", sliver)) == 0.5
    assert share(Adjudicated("=Tumor", None)) == 1
    assert share(Adjudicated("Benign", None), Adjudicated("Necrosis", left)) == 0
    assert np.isnan(share(Adjudicated("Necrosis", left)))
    assert np.isnan(share())


def triage(
    store: Store,
    run: str,
    slides: Sequence[str],
    *,
    threshold: float = 0.2,
    decided: Mapping[str, str] | None = None,
) -> None:
    """A triage of a prediction run that escalates these slides, and what was decided on them."""
    with store.writing() as session:
        predictions = session.scalars(select(PredictionRun).where(PredictionRun.name == run)).one()
        consensus = ConsensusRun(
            at=now(), protocol_id=find_protocol(session, None).id, method="triage",
            parameters={
                "prediction_run": predictions.id, "measure": "entropy", "threshold": threshold,
            },
            input_digest="0" * 64, classes=list(CLASSES), summary={},
            software_version=SOFTWARE_VERSION,
        )  # fmt: skip
        session.add(consensus)
        session.flush()
        for name in slides:
            slide = session.scalars(select(Slide).where(Slide.name == name)).one()
            item = ConsensusItem(
                run_id=consensus.id, slide_id=slide.id, name=f"{name}/1", weight=1.0, pattern={},
                label=None, state="disputed", posterior=[0.5, 0.5], geometry=None,
            )  # fmt: skip
            session.add(item)
            session.flush()
            dispute = Dispute(
                run_id=consensus.id, item_id=item.id, slide_id=slide.id, weight=1.0, severity=1.0,
                geometry=None, reopened_because=None,
            )  # fmt: skip
            session.add(dispute)
            session.flush()
            if decided and name in decided:
                session.add(
                    Decision(
                        dispute_id=dispute.id, at=now(), by_id=find_annotator(session, "L").id,
                        answer="class", path_class=decided[name], reason="seen",
                        inherited_from_id=None,
                    )
                )  # fmt: skip


@pytest.fixture
def runs(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> list[str]:
    """Runs ``base`` over the release and ``new`` over 20 others, all of them called benign."""
    benign = {"predicted": "Benign", "probability": {"Benign": 0.9, "=Tumor": 0.1}}
    names = released(store, pathquorum)
    predict(store, tmp_path / "base", [Drawn(name, result=benign) for name in names])
    new = [Drawn(f"N{number:02}", f"n{number:02}", result=benign) for number in range(20)]
    predict(store, tmp_path / "new", new, seed=1)
    return names


def checked(pathquorum: Pathquorum, folder: Path) -> dict:
    result = pathquorum("drift", "--predictions", "new", "--to", folder, "--json")
    return {one["key"]: one for one in result.json["indicators"]}


@pytest.mark.both_databases
def test_more_escalated_and_more_overturned_is_an_alarm(
    runs: list[str], store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """At one threshold nearly all new slides are escalated, and what was decided overturns the model."""
    new = [f"N{number:02}" for number in range(20)]
    triage(store, "base", runs[:8], decided=dict.fromkeys(runs[:8], "Benign"))
    triage(store, "new", new[:19], decided=dict.fromkeys(new[:12], "=Tumor"))
    found = checked(pathquorum, tmp_path / "out")
    assert (found["escalated"]["alarm"], found["overturned"]["alarm"]) == (True, True)
    assert found["escalated"]["patients"] == {"reference": len(runs), "current": 20}
    assert found["overturned"]["patients"] == {"reference": 8, "current": 12}
    assert (found["overturned"]["reference"]["median"], found["overturned"]["current"]["median"]) == (
        0, 1,
    )  # fmt: skip
    # Decisions on what triage escalated are made with the prediction in sight.
    assert found["ai_assisted"]["current"]["median"] == 1


def test_escalation_is_compared_at_one_threshold_only(
    runs: list[str], store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """One run without triage, or two thresholds, say nothing about the slides; the last triage counts."""
    triage(store, "new", ["N00"])
    found = checked(pathquorum, tmp_path / "out")
    assert found["escalated"]["status"] == "undefined: not both runs went through triage"
    triage(store, "base", runs[:2], threshold=0.3)
    found = checked(pathquorum, tmp_path / "out")
    assert found["escalated"]["status"] == (
        "undefined: the runs went through triage at different thresholds"
    )
    triage(store, "base", runs[:2])
    assert checked(pathquorum, tmp_path / "out")["escalated"]["status"] == "ok"
