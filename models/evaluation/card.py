"""The model card: one HTML file that says what a model is for, how good it is, and what it can't do.

References
----------
Mitchell et al. (2019), doi:10.1145/3287560.3287596, on what a model card holds.
"""

from __future__ import annotations

import base64
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from annotation.audit import current_head
from annotation.store import SOFTWARE_VERSION
from annotation.study_statements import statements
from annotation.terminal import plain
from consensus.reporting.numbers import (
    ShownStatistic,
    count_text,
    marks_of,
    moment_text,
    percent_text,
    shown,
    signed,
)
from consensus.reporting.page import page_environment
from models.datasets.releases import TrainingRelease
from models.evaluation.card_rows import Row
from models.evaluation.chosen_model import ChosenModel
from models.evaluation.external import told_of_drop
from models.evaluation.mask_tables import MaskTables, mask_tables
from models.evaluation.pictures import draw_experts, draw_reliability
from models.evaluation.verdicts import verdict

__all__ = ["TITLES", "Card", "collect_card", "drops_of", "render_card", "verdicts_of"]

TITLES: Final = {
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Kappa",
    "dice_macro": "Dice, mean over classes",
    "accuracy": "Accuracy",
    "auroc_macro": "Area under ROC, mean over classes",
    "nll": "Log-loss",
    "brier": "Brier score",
}
OF_CLASS: Final = {
    "auroc": "Area under ROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1 (Dice)",
}
BESIDE_EXPERTS: Final = ("balanced_accuracy", "kappa")
_FOUND_HIDDEN: Final = 200
"""Longer texts of what a method found are left to the model's file."""


@dataclass(frozen=True)
class PartRow:
    """A part of the release: its slides, patients and sites."""

    name: str
    slides: int
    patients: int
    sites: str


@dataclass(frozen=True)
class Card:
    """What stands on the card."""

    model: ChosenModel
    document: Mapping[str, Any]
    release: TrainingRelease
    intended_use: str | None
    parts: list[PartRow]
    overall: list[Row]
    per_class: list[Row]
    per_site: list[Row]
    external: list[Row]
    drops: list[str]
    experts: list[tuple[str, list[Row]]]
    masks: MaskTables | None
    agreement: Mapping[str, ShownStatistic] | None
    confusion: list[tuple[str, list[str]]]
    calibration: list[Row]
    verdicts: list[str]
    settings: list[tuple[str, str]]
    marks: Mapping[str, str]
    reliability_svg: bytes
    experts_svg: bytes | None
    at: str
    audit_head: str


def collect_card(
    session: Session,
    model: ChosenModel,
    release: TrainingRelease,
    document: Mapping[str, Any],
    at: datetime,
) -> Card:
    """Collect all that the card says of an evaluation."""
    overall = _overall(document)
    per_class = [
        Row(
            name,
            (count_text(one["items"]), count_text(one["patients"])),
            tuple(shown(one[kind]) for kind in OF_CLASS),
        )
        for name, one in document["per_class"].items()
    ]
    per_site = [
        Row(
            name,
            (count_text(one["items"]), count_text(one["patients"])),
            tuple(shown(one[kind]) for kind in ("balanced_accuracy", "kappa", "nll")),
        )
        for name, one in document["per_site"].items()
    ]
    experts = [
        (handle, _expert_rows(beside)) for handle, beside in sorted(document["experts"].items())
    ]
    calibration = _calibration(document["calibration"])
    masks = mask_tables(document)
    external = _external(document["external"])
    rows = [*overall, *per_class, *per_site, *external, *calibration]
    rows += masks.rows if masks else []
    rows += [row for _, beside in experts for row in beside]
    agreed = document["raters_agreement"]
    return Card(
        model=model,
        document=document,
        release=release,
        intended_use=statements(session).get("intended-use"),
        parts=_parts(release, document["split"]),
        overall=overall,
        per_class=per_class,
        per_site=per_site,
        external=external,
        drops=drops_of(document),
        experts=experts,
        masks=masks,
        agreement=None if agreed is None else {k: shown(agreed[k]) for k in ("conger", "percent")},
        confusion=_confusion(document["confusion"]),
        calibration=calibration,
        verdicts=verdicts_of(document),
        settings=_settings(model),
        marks=marks_of(figure for row in rows for figure in row.figures),
        reliability_svg=draw_reliability(document["calibration"]),
        experts_svg=_experts_picture(document["experts"]),
        at=moment_text(at),
        audit_head=current_head(session),
    )


def render_card(card: Card) -> str:
    """The page, every name on it escaped."""
    environment = page_environment(("models", "evaluation"))
    return environment.get_template("card.html.jinja").render(
        card=card,
        document=card.document,
        model=card.model,
        described=card.model.trained.description,
        consensus=card.release.frozen.consensus,
        of_class=list(OF_CLASS.values()),
        reliability=base64.b64encode(card.reliability_svg).decode(),
        experts=None if card.experts_svg is None else base64.b64encode(card.experts_svg).decode(),
        software=f"pathquorum {SOFTWARE_VERSION}, Python {platform.python_version()}",
    )


def _overall(document: Mapping[str, Any]) -> list[Row]:
    """A row a figure: the model's, and the baseline's and the difference where there is one."""
    baseline = document["baseline"]
    rows = []
    for kind, title in TITLES.items():
        if kind not in document["figures"]:
            continue
        figures = [shown(document["figures"][kind])]
        if baseline is not None:
            figures += [shown(baseline["figures"][kind]), shown(baseline["difference"][kind])]
        if kind == "kappa":
            title = f"{title}, {document['weights']} weights"
        rows.append(Row(title, (), tuple(figures)))
    return rows


def _expert_rows(beside: Mapping[str, Any]) -> list[Row]:
    """An expert and the model against either reference."""
    titles = (("others", "majority of the others"), ("consensus", "consensus of the release"))
    return [
        Row(
            title,
            (count_text(beside[kind]["items"]), count_text(beside[kind]["patients"])),
            tuple(
                shown(beside[kind][who][figure])
                for figure in BESIDE_EXPERTS
                for who in ("expert", "model", "difference")
            ),
        )
        for kind, title in titles
    ]


def _calibration(calibration: Mapping[str, Any]) -> list[Row]:
    """Errors and log-loss before and after the temperature."""
    rows = []
    for title, kind in (
        ("Expected calibration error, bins of equal mass", "ece_equal_mass"),
        ("Expected calibration error, bins of equal width", "ece_equal_width"),
    ):
        both = [calibration[when] for when in ("before", "after")]
        rows.append(Row(title, (), tuple(shown(one[kind]) for one in both if one is not None)))
    losses = [calibration["nll"].get(when) for when in ("before", "after")]
    rows.append(Row("Log-loss", (), tuple(shown(one) for one in losses if one is not None)))
    return rows


def verdicts_of(document: Mapping[str, Any]) -> list[str]:
    """What the paired differences show, in words."""
    told = []
    baseline = document["baseline"]
    if baseline is not None:
        told.append(
            verdict(
                baseline["difference"]["balanced_accuracy"],
                f"the baseline {plain(baseline['model'])}",
                "Balanced accuracy against the consensus",
            )
        )
    told += [
        verdict(
            beside["others"]["difference"]["balanced_accuracy"],
            f"expert {plain(handle)}",
            "Balanced accuracy against the other experts",
        )
        for handle, beside in sorted(document["experts"].items())
    ]
    return told


def drops_of(document: Mapping[str, Any]) -> list[str]:
    """What an external validation shows of each figure that experts are compared by, in words."""
    external = document["external"]
    if external is None:
        return []
    return [told_of_drop(external, kind, TITLES[kind]) for kind in BESIDE_EXPERTS]


def _external(external: Mapping[str, Any] | None) -> list[Row]:
    """A row a figure: at the site, at the other sites, and the drop."""
    if external is None:
        return []
    kinds = [kind for kind in TITLES if kind in external["drop"]]
    return [
        Row(
            TITLES[kind],
            (),
            (
                shown(external["outside"]["figures"][kind]),
                shown(external["home"]["figures"][kind]),
                signed(external["drop"][kind]),
            ),
        )
        for kind in kinds
    ]


def _parts(release: TrainingRelease, split: Mapping[str, list[str]]) -> list[PartRow]:
    """The parts as the model's training has them, with the patients and sites of each."""
    of_name = {slide.name: slide for slide in release.slides}
    rows = []
    for part, names in split.items():
        slides = [of_name[name] for name in names if name in of_name]
        sites = Counter(slide.site or "no site" for slide in slides)
        rows.append(
            PartRow(
                part,
                len(names),
                len({slide.subject for slide in slides}),
                ", ".join(f"{site} {count}" for site, count in sorted(sites.items())),
            )
        )
    return rows


def _confusion(confusion: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Shares of each row in percent; a row of nothing is empty."""
    rows = []
    for name, row in zip(confusion["classes"], confusion["weight"], strict=True):
        total = sum(row)
        rows.append((name, [percent_text(cell / total) if total else "" for cell in row]))
    return rows


def _settings(model: ChosenModel) -> list[tuple[str, str]]:
    """How the model was built and trained, a line each."""
    described = model.trained.description
    found = [(f"{described.method}: {key}", value) for key, value in described.found.items()]
    listed = [*described.arguments.items(), *described.training.items(), *found]
    told = [(name, _value(value)) for name, value in listed]
    return [(name, text) for name, text in told if len(text) <= _FOUND_HIDDEN]


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _experts_picture(experts: Mapping[str, Any]) -> bytes | None:
    """Nothing where no expert has others to be held against."""
    figures = [one["others"]["expert"]["balanced_accuracy"]["value"] for one in experts.values()]
    if all(value is None for value in figures):
        return None
    ordered = dict(sorted(experts.items()))
    return draw_experts(ordered, {handle: plain(handle) for handle in ordered})
