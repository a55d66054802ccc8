"""What `status` says, in the text format that Prometheus scrapes.

Annotators appear under their handles, slides not at all: what is scraped is shown to many.

References
----------
https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from consensus.monitoring.blocked import KINDS

__all__ = ["exposition"]

_DAY_S: Final = 86_400

_READS: Final = {
    "planned": "Reads planned for an annotator.",
    "done": "Reads that were pulled.",
    "open": "Planned reads that were not pulled yet.",
    "overdue": "Reads handed out that should have been pulled by now.",
    "excluded": "Reads that were pulled and do not count.",
}


@dataclass
class _Family:
    """One metric: its samples under one name."""

    name: str
    help: str
    kind: str = "gauge"
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, suffix: str = "", **labels: str) -> None:
        """Take a sample; what is undefined has none."""
        if value is not None:
            self.samples.append((suffix, labels, float(value)))

    def lines(self) -> Iterator[str]:
        if not self.samples:
            return
        yield f"# HELP pathquorum_{self.name} {_escaped_help(self.help)}"
        yield f"# TYPE pathquorum_{self.name} {self.kind}"
        for suffix, labels, value in self.samples:
            named = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            yield (
                f"pathquorum_{self.name}{suffix}{{{named}}} {value!r}"
                if named
                else (f"pathquorum_{self.name}{suffix} {value!r}")
            )


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escaped(text: str) -> str:
    return _escaped_help(text).replace('"', r"\"")


def exposition(document: dict[str, Any]) -> str:
    """The document of ``status`` as metrics."""
    families = [*_of_store(document), *_of_protocols(document["protocols"])]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _of_store(document: dict[str, Any]) -> Iterator[_Family]:
    info = _Family("info", "The version of the software that answers.")
    info.add(1, version=document["software_version"])
    yield info
    pulls = document["pulls"]
    for name, text, kind, value in (
        ("slides", "Slides of the study.", "gauge", document["slides"]),
        ("slides_unread", "Slides that nobody has read.", "gauge", len(document["unread_slides"])),
        ("annotators", "People of the study.", "gauge", document["annotators"]),
        ("pulls_total", "Pulls that came in.", "counter", pulls["pulls"]),
        ("pulled_reads_total", "Reads that pulls brought.", "counter", pulls["reads"]),
        (
            "last_pull_timestamp_seconds",
            "When the last pull came in.",
            "gauge",
            None if pulls["last_at"] is None else pulls["last_at"].timestamp(),
        ),
    ):
        family = _Family(name, text, kind)
        family.add(value)
        yield family
    took = _Family("read_pull_seconds", "Time to take in one read of a pull.", "summary")
    took.add(pulls["elapsed_s"], "_sum")
    took.add(pulls["reads_timed"], "_count")
    yield took


def _of_protocols(protocols: list[dict[str, Any]]) -> list[_Family]:
    signed = _Family("protocol_signed", "Whether a protocol version is signed.")
    reads = {state: _Family(f"reads_{state}", text) for state, text in _READS.items()}
    days = _Family("days_to_read_median", "Median days from handing out to reading.")
    overall = _Family("kappa", "Kappa so far, over all classes.")
    per_class = _Family("class_kappa", "Kappa so far, of each class.")
    monthly = _Family("month_class_kappa", "Kappa of each class on the slides of a month.")
    items = _Family("agreement_items", "Items that agreement rests on.")
    disputes = _Family("disputes", "Disputes of the latest consensus run.")
    triage = _Family("triage_disputes", "Disputes of the latest triage.")
    middle = _Family("dispute_age_median_seconds", "Median age of open disputes.")
    oldest = _Family("dispute_age_oldest_seconds", "Age of the oldest open dispute.")
    blocked = _Family("blocked", "What is blocked, by what stands in the way.")
    for entry in protocols:
        of = {"protocol": entry["name"], "version": entry["version"]}
        signed.add(entry["signed"], **of)
        for person in entry["progress"]:
            for state, family in reads.items():
                family.add(person[state], **of, annotator=person["annotator"])
            days.add(person["median_days_to_read"], **of, annotator=person["annotator"])
        found = entry["agreement"]
        if found["status"] == "ok":
            overall.add(found["overall"]["value"], **of)
            items.add(found["items"], **of)
            for name, kappa in found["per_class"].items():
                per_class.add(kappa["value"], **of, **{"class": name})
        for month in found["by_month"]:
            for name, kappa in month["per_class"].items():
                monthly.add(kappa["value"], **of, **{"class": name}, month=month["month"])
        queue = entry["queue"]
        if queue is not None:
            disputes.add(queue["open"], **of, state="open")
            disputes.add(queue["decided"], **of, state="decided")
            for family, key in ((middle, "median_age_days"), (oldest, "oldest_age_days")):
                family.add(None if queue[key] is None else queue[key] * _DAY_S, **of)
        if entry["triage"] is not None:
            for state in ("open", "decided"):
                triage.add(entry["triage"][state], **of, state=state)
        counts = Counter(one["kind"] for one in entry["blocked"])
        for kind in KINDS:
            blocked.add(counts[kind], **of, kind=kind)
    return [
        signed, *reads.values(), days, overall, per_class, monthly, items, disputes, triage,
        middle, oldest, blocked,
    ]  # fmt: skip
