"""What a release's manifest says: canonical JSON whose SHA-256 names the training set.

It holds content only. No time, no name of the release and no key of the database stands in it, so
that the same run with the same decisions gives the same digest whenever a release is made of it;
another decision, label, outline, slide or split gives another one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import shapely

from annotation.tables import Slide
from consensus.consensus_items import Consensus, ResolvedItem
from consensus.tables import ConsensusRun

__all__ = [
    "SlidePlace",
    "build_manifest",
    "encode_manifest",
    "first_difference",
    "geometry_sha256",
    "sha256_of",
]

SCHEMA = "pathquorum-release/1"

_DIGITS = 6
"""Decimals of weights: a millionth of a square micron."""


def encode_manifest(manifest: Mapping[str, Any]) -> bytes:
    """The canonical bytes: sorted keys, no spaces, UTF-8."""
    return msgspec.json.encode(manifest, order="sorted")


def sha256_of(encoded: bytes) -> str:
    """The digest that names a release."""
    return hashlib.sha256(encoded).hexdigest()


def geometry_sha256(geometry: shapely.Geometry | None) -> str | None:
    """Digest of an outline, whatever vertex its rings begin with; exact in its coordinates."""
    if geometry is None:
        return None
    blob: bytes = shapely.to_wkb(shapely.normalize(geometry), output_dimension=2, byte_order=1)
    return hashlib.sha256(blob).hexdigest()


@dataclass(frozen=True, slots=True)
class SlidePlace:
    """Where a slide stands in the study and in the split; without a patient it is its own."""

    patient: str | None
    site: str | None
    part: str


def build_manifest(
    consensus: Consensus,
    *,
    places: Mapping[int, SlidePlace],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    """The manifest of a run with its decisions and a split.

    Parameters
    ----------
    places
        By slide id.
    """
    run, row = consensus.run, consensus.protocol_row
    totals = _Totals()
    slides = [
        _slide_entry(consensus, slide, places[slide.id], totals) for slide in consensus.slides
    ]
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": row.name,
            "version": row.version,
            "sha256": row.sha256,
            "task": consensus.protocol.task,
        },
        "method": run.method,
        "parameters": run.parameters,
        "input_digest": run.input_digest,
        "classes": list(consensus.classes),
        "decisions": totals.decisions,
        "slides": slides,
        "totals": totals.to_dict(slides, regions=consensus.protocol.task == "regions"),
        "excluded_reads": [
            {key: read[key] for key in ("annotator", "slide", "reason")}
            for read in run.summary.get("excluded", [])
        ],
        "notes": list(run.summary.get("notes", [])),
        **_assisted(run),
        "split": {
            "seed": seed,
            "shares": dict(shares),
            "parts": _part_counts(slides, shares),
        },
    }


def _assisted(run: ConsensusRun) -> dict[str, list[dict[str, str]]]:
    """The decisions that count as ratings, made with a prediction in sight; nothing without any."""
    counted = run.summary.get("ai_assisted")
    if not counted:
        return {}
    return {
        "ai_assisted": [
            {key: one[key] for key in ("annotator", "class", "slide")} for one in counted
        ]
    }


@dataclass
class _Total:
    items: int = 0
    weight: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"items": self.items, "weight": round(self.weight, _DIGITS)}


class _Totals:
    """What is labelled, what is not and why, over all slides."""

    def __init__(self) -> None:
        self.labelled: dict[str, _Total] = defaultdict(_Total)
        self.unlabelled: dict[str, _Total] = defaultdict(_Total)
        self.decisions: list[dict[str, Any]] = []

    def add(self, slide: Slide, item: ResolvedItem, outline: str | None) -> None:
        """Count an item, and note the decision in force on it."""
        total = self.unlabelled[item.state] if item.label is None else self.labelled[item.label]
        total.items += 1
        total.weight += item.weight
        if item.answer is not None:
            self.decisions.append(
                {
                    "slide": slide.name,
                    "item": item.name,
                    "geometry_sha256": outline,
                    "pattern": item.pattern,
                    "answer": item.answer.answer,
                    "class": item.answer.path_class,
                    "by": item.answer.by,
                    "reason": item.answer.reason,
                }
            )

    def to_dict(self, slides: list[dict[str, Any]], *, regions: bool) -> dict[str, Any]:
        """The totals' part of a manifest."""
        return {
            "slides": len(slides),
            "items": sum(slide["items"] for slide in slides),
            "weight_unit": "um2" if regions else "count",
            "labelled": {name: total.to_dict() for name, total in self.labelled.items()},
            "unlabelled": {state: total.to_dict() for state, total in self.unlabelled.items()},
        }


def _slide_entry(
    consensus: Consensus, slide: Slide, place: SlidePlace, totals: _Totals
) -> dict[str, Any]:
    digest = hashlib.sha256()
    names: set[str] = set()
    for item in consensus.items(slide):
        outline = geometry_sha256(item.geometry)
        content = {
            "name": item.name,
            "pattern": item.pattern,
            "state": item.state,
            "label": item.label,
            "posterior": item.posterior,
            "weight": round(item.weight, _DIGITS),
            "geometry_sha256": outline,
        }
        digest.update(msgspec.json.encode(content, order="sorted") + b"\n")
        names.add(item.item)
        totals.add(slide, item, outline)
    return {
        "name": slide.name,
        "fingerprint": slide.fingerprint,
        "width_px": slide.width_px,
        "height_px": slide.height_px,
        "mpp": slide.mpp,
        "patient": place.patient,
        "site": place.site,
        "part": place.part,
        "items": len(names),
        "items_sha256": digest.hexdigest(),
    }


def _part_counts(
    slides: Iterable[Mapping[str, Any]], shares: Mapping[str, float]
) -> dict[str, dict[str, int]]:
    """Patients and slides of each part, those of the split first."""
    of_part: dict[str, list[Mapping[str, Any]]] = {part: [] for part in shares}
    for slide in slides:
        of_part.setdefault(slide["part"], []).append(slide)
    return {
        part: {
            "patients": len({(s["patient"] is None, s["patient"] or s["name"]) for s in found}),
            "slides": len(found),
        }
        for part, found in of_part.items()
    }


def first_difference(kept: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In a few words, where two manifests part."""
    before = {slide["name"]: slide for slide in kept["slides"]}
    after = {slide["name"]: slide for slide in now["slides"]}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            return f"slide {name!r} is gone"
        if name not in before:
            return f"slide {name!r} has come in"
        # Items and part follow from the rest of the entry, so the cause is told first.
        for key in sorted(before[name], key=lambda k: (k in ("items", "items_sha256", "part"), k)):
            if after[name].get(key) != before[name][key]:
                what = "items" if key == "items_sha256" else key.removesuffix("_px")
                return f"the {what} of slide {name!r} changed"
    changed = sorted(key for key in kept if kept[key] != now.get(key))
    return f"its {', '.join(changed)} changed" if changed else "its text changed"
