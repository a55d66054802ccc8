"""A study with tiny slides and models on record, for runs of predictions that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from annotation.slides import fingerprint
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.tables import Slide
from consensus.release import create_release, find_release
from consensus.tables import PredictedSlide, PredictionRun
from models.model_file import DESCRIPTION, ModelDescription, describe, read_description
from models.prediction.carrying_out import PredictionRequest, carry_out
from models.prediction.chosen_members import choose_members
from models.prediction.chosen_slides import named_slides
from models.prediction.run import begin_run
from models.prediction.settings import PredictionSettings
from models.registry import register_model
from tests.consensus.built_run import build_run, region_items
from tests.models.prediction.runs.stub_predictor import open_stub


@dataclass
class RunStudy:
    """A store with models `m` and `n`, and a folder for slides and runs.

    Attributes
    ----------
    folder
        Runs are `folder / NAME`.
    """

    store: Store
    folder: Path

    def add_slides(self, names: Sequence[str]) -> None:
        """Add slides, each with a file of its own."""
        files = self.folder / "slides"
        files.mkdir(exist_ok=True)
        with self.store.writing() as session:
            for name in names:
                path = files / f"{name}.tiff"
                path.write_bytes(name.encode())
                session.add(
                    Slide(
                        name=name,
                        path=str(path),
                        width_px=100,
                        height_px=100,
                        mpp=0.5,
                        mpp_source="given",
                        fingerprint=fingerprint(path),
                        added_at=now(),
                    )
                )

    def request(self, *slides: str, to: str = "run", **given: Any) -> PredictionRequest:
        """What is asked, with a predictor that needs no model."""
        return stub_request(self.folder / to, slides=slides, **given)

    def predict(self, *slides: str, to: str = "run", **given: Any) -> dict[str, Any]:
        """Predict, and give the command's document."""
        return carry_out(self.store, self.request(*slides, to=to, **given))

    def begin(self, *slides: str) -> None:
        """Put a run on record, and predict nothing."""
        request = self.request(*slides)
        with self.store.reading() as session:
            members, _ = choose_members(session, request.models)
            chosen = named_slides(session, slides)
        settings = request.settings
        begin_run(
            self.store, request.folder, members, settings.to_dict(), settings.sha256, chosen.ids
        )

    def begun(self, to: str = "run") -> list[str]:
        """The slide of each attempt that was begun in a run."""
        path = self.folder / f"{to}.begun"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def rows(self, run: str = "run") -> dict[str, PredictedSlide]:
        """The slides of a run, by name."""
        with self.store.reading() as session:
            rows = session.execute(
                select(Slide.name, PredictedSlide)
                .join(PredictedSlide, PredictedSlide.slide_id == Slide.id)
                .join(PredictionRun, PredictedSlide.run_id == PredictionRun.id)
                .where(PredictionRun.name == run)
            )
            return {name: row for name, row in rows}  # noqa: C416

    def states(self, run: str = "run") -> dict[str, tuple[str, int]]:
        """State and attempts of each slide."""
        return {name: (row.state, row.attempts) for name, row in self.rows(run).items()}

    def outputs(self, run: str = "run") -> dict[str, tuple[str | None, str | None, Any]]:
        """All that decides whether two runs gave the same."""
        return {
            name: (row.output_sha256, row.regions_sha256, row.result)
            for name, row in self.rows(run).items()
        }

    def warm(self, model: str, temperature: float) -> None:
        """Give a model another temperature, as `evaluate --calibrate` does."""
        folder = self.folder / "models" / model
        describe(folder, msgspec.structs.replace(read_description(folder), temperature=temperature))


def stub_request(folder: Path, **given: Any) -> PredictionRequest:
    """What is asked of a predictor that needs no model: every slide, by one worker."""
    return PredictionRequest(
        **{
            "models": ("m",),
            "settings": PredictionSettings(method="none"),
            "folder": folder,
            "workers": 1,
            "memory_bytes": 10**11,
            "opening": open_stub,
            **given,
        }
    )


def make_study(store: Store, folder: Path) -> RunStudy:
    """Put two models on record that were trained on a release of one slide."""
    run = build_run(store, region_items("R"), slides={"R": {}})
    with store.writing() as session:
        create_release(session, "v1", run)
        release = find_release(session, "v1")
        for number, name in enumerate(("m", "n"), 1):
            where = folder / "models" / name
            where.mkdir(parents=True)
            describe(where, _description(release.manifest_sha256, str(number) * 64))
            register_model(session, name, release, read_description(where), where)
    assert (folder / "models" / "m" / DESCRIPTION).is_file()
    return RunStudy(store, folder)


def _description(manifest_sha256: str, weights_sha256: str) -> ModelDescription:
    return ModelDescription(
        architecture="tile-mlp",
        arguments={},
        classes=["Benign", "=Tumor"],
        ordered=True,
        input={"kind": "features", "encoder": "none", "encoder_sha256": "0" * 64},
        release="v1",
        manifest_sha256=manifest_sha256,
        split={},
        method="soft",
        training={},
        weights_sha256=weights_sha256,
        code_version=SOFTWARE_VERSION,
    )
