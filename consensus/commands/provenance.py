"""`slide show` and `trace`: where everything comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["slide_show", "trace"]

_MISSING = "missing"


@click.command("show", short_help="All that is on record of one slide.")
@click.argument("name")
@command
def slide_show(invocation: Invocation, name: str) -> Outcome:
    """Show all that is on record of the slide NAME.

    Its file and fingerprint, every read with what the reader held, saw and was blinded to, every
    dispute and decision, and every release, push and prediction that it went into. What was never
    recorded is called missing.
    """
    from consensus.provenance.slide_page import slide_page

    with invocation.store.reading() as session:
        document = slide_page(session, name)
    return Outcome(document, lambda console: _show_slide(console, document))


@click.command("trace", short_help="The reads and decisions behind something.")
@click.argument("identifier", metavar="ID")
@command
def trace(invocation: Invocation, identifier: str) -> Outcome:
    """Show the reads, credentials and decisions behind ID.

    ID is the UUID of a pushed or drawn object, a release's name or manifest SHA-256, a model's name
    or weights SHA-256, predictions:NAME, or run:N, dispute:N or read:N.
    """
    from consensus.provenance.trace import trace as trace_back

    with invocation.store.reading() as session:
        document = trace_back(session, identifier)
    return Outcome(document, lambda console: _show_trace(console, document))


def _show_slide(console: Console, page: dict[str, Any]) -> None:
    slide, study = page["slide"], page["study"]
    facts = [
        ("file", slide["path"]),
        ("fingerprint", slide["fingerprint"]),
        ("size", f"{slide['width_px']} x {slide['height_px']} px, {slide['mpp']:.4g} um/px"),
        ("scanner", slide["scanner"] or slide["vendor"]),
        ("stain", slide["stain"]),
        ("patient", slide["patient"]),
        ("site", slide["site"]),
        ("ethics approval", study["ethics"]),
        ("intended use", study["intended_use"]),
    ]
    console.print(f"Slide {slide['name']}", markup=False)
    for what, fact in facts:
        console.print(f"  {what}: {fact or _MISSING}", markup=False, soft_wrap=True)
    console.print(
        table(
            "Reads",
            "read", "rater", "role", "read on", "objects", "blinded", "AI", "based on", "counts",
            rows=[_read_row(read) for read in page["reads"]],
        )
    )  # fmt: skip
    for fault in page["not_as_recorded"]:
        console.print(
            f"Pull {fault['pull']} of read {fault['read']}: {fault['problem']}; see "
            "`pathquorum store check`.",
            soft_wrap=True,
        )
    console.print(
        table(
            "Disputes and decisions",
            "dispute", "run", "decided", "by", "reason",
            rows=[row for dispute in page["disputes"] for row in _dispute_rows(dispute)],
        )
    )  # fmt: skip
    for release in page["releases"]:
        console.print(
            f"Release {release['release']}: {release['part']}, {release['manifest_sha256'][:12]}",
            markup=False,
        )
    for of in page["prediction_runs"]:
        console.print(_prediction_line(of), markup=False, soft_wrap=True)
    for push in (*page["pushes"], *page["predictions"]):
        console.print(
            f"{push['origin']} in {push['target']}: {counted(push['objects'], 'object')}"
            + (f", {push['taken_back']} taken back" if push["taken_back"] else ""),
            markup=False,
            soft_wrap=True,
        )


def _prediction_line(of: dict[str, Any]) -> str:
    others = f" and {of['members'] - 1} more" if of["members"] > 1 else ""
    said = of["state"] if of["reason"] is None else f"{of['state']}, {of['reason']}"
    if of["predicted"] is not None:
        said = f"{of['predicted']} ({of['probability'][of['predicted']]:.2f})"
    return f"Predictions {of['predictions']}, model {of['model']}{others}: {said}"


def _read_row(read: dict[str, Any]) -> list[object]:
    entitled = read.get("entitlement") or {}
    based_on = read["based_on"]
    return [
        read["read"],
        read["annotator"],
        entitled.get("role", _MISSING),
        read.get("read_date", _MISSING),
        read.get("objects", _MISSING),
        _yes_or_no(read.get("blinded")),
        _yes_or_no(read.get("ai_assisted")),
        "-" if based_on is None else f"read {based_on['based_on']}",
        "yes" if read.get("excluded") is None else f"no: {read['excluded']}",
    ]


def _yes_or_no(known: bool | None) -> str:
    return _MISSING if known is None else "yes" if known else "no"


def _dispute_rows(dispute: dict[str, Any]) -> Sequence[list[object]]:
    if not dispute["decisions"]:
        return [
            [dispute["dispute"], dispute["run"], "open", "-", dispute["reopened_because"] or ""]
        ]
    return [
        [
            dispute["dispute"],
            dispute["run"],
            decision["class"] or decision["answer"],
            f"{decision['by'] or '-'}{_assisted(dispute)}",
            decision["reason"],
        ]
        for decision in dispute["decisions"]
    ]


def _assisted(made: dict[str, Any]) -> str:
    return " (AI-assisted)" if made["ai_assisted"] else ""


def _show_trace(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['id']}: {found['kind']}", markup=False)
    if "predictions" in found:
        predicted = found["predictions"]
        states = Counter(slide["state"] for slide in predicted["slides"])
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        console.print(
            f"Predictions {predicted['name']} of {predicted['at']:%Y-%m-%d}, slides: {told}",
            markup=False,
        )
    if "model" in found:
        model, release = found["model"], found["release"]
        console.print(
            f"Model {model['model']} ({model['method']}), weights {model['weights_sha256'][:12]}, "
            f"trained on release {release['release']}, manifest {release['manifest_sha256'][:12]}",
            markup=False,
        )
    if "run" in found:
        run, protocol = found["run"], found["protocol"]
        signed = "signed" if protocol["signed"] else "not signed"
        console.print(
            f"Run {run['run']} ({run['method']}), protocol {protocol['name']}@{protocol['version']} "
            f"({signed}), input {run['input_digest'][:12]}",
            markup=False,
        )
    console.print(
        table(
            "Reads behind it",
            "read", "slide", "rater", "role", "read on", "pull", "source",
            rows=[
                [r["read"], r["slide"], r["annotator"], r["role"] or _MISSING, r["read_date"],
                 r["pull"], r["source_sha256"][:12]]
                for r in found.get("reads", ())
            ],
        )
    )  # fmt: skip
    if found.get("decisions"):
        console.print(
            table(
                "Decisions",
                "decision", "dispute", "answer", "by", "reason",
                rows=[
                    [d["decision"], d["dispute"], d["class"] or d["answer"],
                     f"{d['by'] or '-'}{_assisted(d)}", d["reason"]]
                    for d in found["decisions"]
                ],
            )
        )  # fmt: skip
    if found.get("ai_assisted"):
        console.print(
            table(
                "Decisions on a triage, counted as one rating each (AI-assisted)",
                "decision", "run", "slide", "class", "by",
                rows=[
                    [d["decision"], d["run"], d["slide"], d["class"], d["annotator"]]
                    for d in found["ai_assisted"]
                ],
            )
        )  # fmt: skip
