"""The page of a drift check, and how its figures are written there and on the terminal."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotation.store import SOFTWARE_VERSION
from consensus.reporting.numbers import moment_text, percent_text
from consensus.reporting.page import page_environment
from models.drift.measures import GROUPS
from models.drift.pictures import draw_kappas, draw_numbers
from models.drift.watch import Drift

__all__ = ["Row", "render_page", "rows_of", "told_in_brief"]

_MOST_CATEGORIES = 4
_SMALLEST_P = 0.0001


@dataclass(frozen=True)
class Row:
    """An indicator in words; ``undefined`` stands in the place of what could not be tested."""

    group: str
    title: str
    patients: str
    reference: str
    current: str
    change: str
    psi: str
    p_adjusted: str
    alarm: bool
    undefined: str | None


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """A row an indicator, in the document's order."""
    return [
        Row(
            group=GROUPS[one["group"]],
            title=one["title"],
            patients=f"{one['patients']['reference']}/{one['patients']['current']}",
            reference=_side(one, "reference"),
            current=_side(one, "current"),
            change=_change(one),
            psi="-" if one["psi"] is None else f"{one['psi']['psi']:.2f}",
            p_adjusted="-" if one["p_adjusted"] is None else _p_text(one["p_adjusted"]),
            alarm=one["alarm"],
            undefined=None if one["status"] == "ok" else one["status"],
        )
        for one in document["indicators"]
    ]


def told_in_brief(document: Mapping[str, Any]) -> str:
    """What the check has found, in one sentence."""
    if document["status"] != "ok":
        return f"Nothing could be tested ({document['status']}): no alarm, and no all-clear."
    titles = [one["title"] for one in document["indicators"] if one["alarm"]]
    if titles:
        return f"ALARM: {', '.join(titles)} changed against the reference."
    return (
        f"No alarm: none of {document['tested']} indicators has changed by more than chance allows "
        "for. Small changes, and changes in few patients, go unseen."
    )


def render_page(drift: Drift, at: datetime) -> tuple[str, dict[str, bytes]]:
    """The page, every name on it escaped, and its pictures by name."""
    document = drift.document
    rows = rows_of(document)
    readers = [one for one in drift.indicators if one.group == "readers"]
    drawn = {
        "indicators.svg": draw_numbers(drift.indicators),
        "kappa.svg": draw_kappas(readers, drift.readers.by_month),
    }
    pictures = {name: picture for name, picture in drawn.items() if picture is not None}
    environment = page_environment(("models", "drift"))
    page = environment.get_template("drift.html.jinja").render(
        document=document,
        groups=[
            (title, [row for row in rows if row.group == title])
            for title in GROUPS.values()
            if any(row.group == title for row in rows)
        ],
        brief=told_in_brief(document),
        pictures={
            name.partition(".")[0]: base64.b64encode(picture).decode()
            for name, picture in pictures.items()
        },
        at=moment_text(at),
        software=f"pathquorum {SOFTWARE_VERSION}, Python {platform.python_version()}",
    )
    return page, pictures


def _side(one: Mapping[str, Any], side: str) -> str:
    found = one.get(side)
    if found is None:
        return "-"
    if one["kind"] == "rate":
        return percent_text(found["mean"])
    if one["kind"] == "number":
        return _number_text(found["median"])
    if one["kind"] == "kappa":
        return f"{found:.2f}"
    shares = sorted(found.items(), key=lambda item: -item[1])
    told = [f"{name} {percent_text(share)}" for name, share in shares[:_MOST_CATEGORIES] if share]
    return ", ".join(told) + (", …" if len(shares) > _MOST_CATEGORIES else "") or "-"


def _change(one: Mapping[str, Any]) -> str:
    """How far apart the two sides are, in the terms of the indicator."""
    if one["kind"] in ("number", "rate") and one["superiority"] is not None:
        return f"higher in {percent_text(one['superiority'])} of pairs"
    if one["kind"] == "embedding" and one["statistic"] is not None:
        return f"MMD {one['statistic']:.2g}"
    if one["kind"] == "kappa" and None not in (one["reference"], one["current"]):
        return f"{one['current'] - one['reference']:+.2f}"
    return "-"


def _p_text(p: float) -> str:
    return f"<{_SMALLEST_P:g}" if p < _SMALLEST_P else f"{p:.2g}"


def _number_text(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
