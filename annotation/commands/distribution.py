"""`distribute`, and what `assign` shares with it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.distribution.assignments import Washout
    from annotation.distribution.planning import HandOut

Given = TypeVar("Given")


def names(text: str | None) -> list[str] | None:
    """What stands between commas; a name with a comma in double quotes; None: nothing was said."""
    if text is None:
        return None
    (fields,) = csv.reader([text.replace("\n", " ")], skipinitialspace=True)
    return [name.strip() for name in fields if name.strip()]


@click.command(short_help="Make a QuPath project for each annotator.")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--annotators", metavar="A,B", help="Who is to read; of a plan: all, unless said.")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Gets a folder a person.",
)  # fmt: skip
@click.option("--slides", metavar="A,B", help="Which slides; all that have an image, unless said.")
@click.option(
    "--plan", type=click.Path(path_type=Path), metavar="FILE.csv",
    help="A plan of `assign --plan`: who reads which slides of which protocol.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="For masks and order.")
@click.option(
    "--domain", type=click.Path(path_type=Path), metavar="GEOJSON",
    help="What is to be read: a file, or a folder of files named after slides.",
)  # fmt: skip
@click.option("--replicate", type=int, default=1, show_default=True, help="Which reading it is.")
@click.option("--washout", type=int, metavar="DAYS", help="Days since the earlier reading.")
@click.option("--force", metavar="REASON", help="Why the washout is not waited for.")
@command
def distribute(
    invocation: Invocation,
    protocol: str | None,
    annotators: str | None,
    folder: Path,
    slides: str | None,
    plan: Path | None,
    seed: int,
    domain: Path | None,
    replicate: int,
    washout: int | None,
    force: str | None,
) -> Outcome:
    """Make a QuPath project for each annotator, bound to the annotator and the protocol.

    Each has the slides, the protocol's classes in order, and the domain's objects, locked. Where
    the protocol blinds, the slides' names are masked and their order is each annotator's own; what
    still tells a slide is listed. `pathquorum pull DIR` takes them back. A folder that is there
    already is never touched.
    """
    from annotation.distribution.handing_out import hand_out
    from annotation.distribution.planning import HandOut

    people = names(annotators)
    request = HandOut(
        annotators=people or [],
        protocol=protocol or "",
        folder=folder,
        slides=names(slides),
        replicate=replicate,
        washout=washout_of(washout, force) if plan is None else None,
        domain=domain,
        seed=seed,
        new=True,
    )
    if plan is None:
        needed("protocol", protocol)
        needed("annotators", annotators)
    else:
        request = planned(request, plan, people, washout, force)
    handed = hand_out(invocation.store, request)
    return Outcome(handed.to_dict(), lambda console: show_handed_out(console, handed.to_dict()))


def washout_of(days: int | None, force: str | None) -> Washout | None:
    """The washout that was asked for."""
    from annotation.distribution.assignments import Washout

    if days is None:
        if force is not None:
            raise click.UsageError("--force says why a --washout is not waited for; give both.")
        return None
    return Washout(days, force)


def planned(
    request: HandOut, file: Path, people: list[str] | None, washout: int | None, force: str | None
) -> HandOut:
    """A request with what a plan says: the protocol, who reads what, and the washout."""
    from annotation.distribution.assignments import Washout
    from annotation.distribution.plan_file import read_plan

    for option, given in (
        ("--protocol", request.protocol),
        ("--slides", request.slides),
        ("--washout", washout is not None),
    ):
        if given:
            raise click.UsageError(f"A plan says it itself; leave {option} out.")
    plan = read_plan(file)
    slides = plan.slides_of(request.replicate, people)
    days = plan.washout_days(request.replicate)
    if days is None and force is not None:
        raise click.UsageError("--force is for a reading after a washout; give --replicate 2.")
    return replace(
        request,
        annotators=list(slides),
        protocol=plan.protocol,
        washout=None if days is None else Washout(days, force),
        plan=slides,
        plan_sha256=plan.sha256,
    )


def needed(name: str, value: Given | None) -> Given:
    """The value of an option, which must be there."""
    if value is None:
        raise click.UsageError(f"Missing option '--{name}'.")
    return value


def listed(invocation: Invocation, annotator: str | None, protocol: str | None) -> Outcome:
    """Every assignment there ever was."""
    from annotation.distribution.assignments import list_assignments
    from annotation.lookup import find_annotator, find_protocol

    with invocation.store.reading() as session:
        rows = list_assignments(
            session,
            annotator=None if annotator is None else find_annotator(session, annotator),
            protocol=None if protocol is None else find_protocol(session, protocol),
        )
    return Outcome(
        {"assignments": rows},
        lambda console: console.print(
            table(
                None,
                "annotator",
                "slide",
                "shown as",
                "protocol",
                "replicate",
                "folder",
                "state",
                "not before",
                rows=[
                    [
                        r["annotator"],
                        r["slide"],
                        r["shown_as"],
                        r["protocol"],
                        r["replicate"],
                        r["folder"],
                        r["state"],
                        r["not_before"],
                    ]
                    for r in rows
                ],
            )
        ),
    )


def show_handed_out(console: Console, document: dict[str, Any]) -> None:
    """Tell a person what was handed out, withdrawn and kept."""
    lines = [
        f"Withdrawn: slide {entry['slide']} (replicate {entry['replicate']})."
        for entry in document.get("withdrawn", ())
    ]
    lines += [
        f"Stays: slide {entry['slide']}: {entry['because']}." for entry in document.get("kept", ())
    ]
    lines += [
        f"{entry['annotator']}: {counted(len(entry['slides']), 'slide')}"
        f"{', masked and shuffled' if entry['masked'] else ''}, "
        f"{'added to' if entry['added'] else 'in'} {entry['project']}"
        for entry in document["projects"]
    ]
    lines += [
        f"Leak: slide {entry['slide']} is recognisable by its {', '.join(entry['shows'])}."
        for entry in document["leaks"]
    ]
    lines += [f"Note: {note}." for note in document["notes"]]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
