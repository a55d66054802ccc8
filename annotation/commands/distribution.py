"""`distribute` and `assign`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.distribution.assignments import Washout

Given = TypeVar("Given")


def names(text: str | None) -> list[str] | None:
    """What stands between commas; a name with a comma in double quotes; None: nothing was said."""
    if text is None:
        return None
    (fields,) = csv.reader([text.replace("\n", " ")], skipinitialspace=True)
    return [name.strip() for name in fields if name.strip()]


@click.command(short_help="Make a QuPath project for each annotator.")
@click.option("--protocol", required=True, metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--annotators", required=True, metavar="A,B", help="Who is to read.")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Gets a folder a person.",
)  # fmt: skip
@click.option("--slides", metavar="A,B", help="Which slides; all that have an image, unless said.")
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
    protocol: str,
    annotators: str,
    folder: Path,
    slides: str | None,
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

    handed = hand_out(
        invocation.store,
        HandOut(
            annotators=names(annotators) or [],
            protocol=protocol,
            folder=folder,
            slides=names(slides),
            replicate=replicate,
            washout=washout_of(washout, force),
            domain=domain,
            seed=seed,
            new=True,
        ),
    )
    return Outcome(handed.to_dict(), lambda console: _show(console, handed.to_dict()))


@click.command(short_help="Add, move and withdraw slides of annotators.")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--annotator", metavar="HANDLE", help="Who gets the slides, or had them.")
@click.option(
    "--slides", metavar="A,B", help="Which slides; to move or withdraw: all, unless said."
)
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the projects are; one is made where a person has none.",
)  # fmt: skip
@click.option("--from", "origin", metavar="HANDLE", help="From whom to move what is not read yet.")
@click.option("--to-annotator", "heir", metavar="HANDLE", help="To whom to move it.")
@click.option("--withdraw", is_flag=True, help="Take back what is not read yet.")
@click.option("--list", "listing", is_flag=True, help="List all assignments, with masked names.")
@click.option("--seed", type=int, default=0, show_default=True, help="For masks and order.")
@click.option(
    "--domain", type=click.Path(path_type=Path), metavar="GEOJSON",
    help="What is to be read: a file, or a folder of files named after slides.",
)  # fmt: skip
@click.option("--replicate", type=int, default=1, show_default=True, help="Which reading it is.")
@click.option("--washout", type=int, metavar="DAYS", help="Days since the earlier reading.")
@click.option("--force", metavar="REASON", help="Why the washout is not waited for.")
@click.option("--qupath-is-elsewhere", is_flag=True, help="No QuPath has the project open.")
@click.option("--reason", metavar="TEXT", help="Why slides are moved or withdrawn.")
@command
def assign(
    invocation: Invocation,
    protocol: str | None,
    annotator: str | None,
    slides: str | None,
    folder: Path | None,
    origin: str | None,
    heir: str | None,
    withdraw: bool,
    listing: bool,
    seed: int,
    domain: Path | None,
    replicate: int,
    washout: int | None,
    force: str | None,
    qupath_is_elsewhere: bool,
    reason: str | None,
) -> Outcome:
    """Add slides to an annotator's project, move them to another's, or withdraw them.

    To add: --annotator, --slides, --protocol and --to. To move: --from, --to-annotator, --protocol
    and --to. To withdraw: --withdraw, --annotator and --protocol. What was read stays with whoever
    read it, and so does what was drawn. Masked names stand in --list and nowhere else.
    """
    from annotation.distribution import reassigning
    from annotation.distribution.handing_out import hand_out
    from annotation.distribution.planning import HandOut

    moving = origin is not None or heir is not None
    if moving + withdraw + listing > 1:
        raise click.UsageError("Choose one of --from with --to-annotator, --withdraw and --list.")
    if listing:
        return _list(invocation, annotator, protocol)
    version = _needed("protocol", protocol)
    if withdraw:
        document = reassigning.withdraw(
            invocation.store,
            _needed("annotator", annotator),
            version,
            slides=names(slides),
            folder=folder,
            reason=reason,
        ).to_dict()
        return Outcome(document, lambda console: _show(console, document))
    request = HandOut(
        annotators=[_needed("to-annotator", heir) if moving else _needed("annotator", annotator)],
        protocol=version,
        folder=_needed("to", folder),
        slides=names(slides) if moving else names(_needed("slides", slides)),
        replicate=replicate,
        washout=washout_of(washout, force),
        domain=domain,
        seed=seed,
        qupath_is_elsewhere=qupath_is_elsewhere,
    )
    if moving:
        giver = _needed("from", origin)
        document = reassigning.move(invocation.store, giver, request, reason=reason).to_dict()
    else:
        document = hand_out(invocation.store, request).to_dict()
    return Outcome(document, lambda console: _show(console, document))


def washout_of(days: int | None, force: str | None) -> Washout | None:
    """The washout that was asked for."""
    from annotation.distribution.assignments import Washout

    if days is None:
        if force is not None:
            raise click.UsageError("--force says why a --washout is not waited for; give both.")
        return None
    return Washout(days, force)


def _needed(name: str, value: Given | None) -> Given:
    if value is None:
        raise click.UsageError(f"Missing option '--{name}'.")
    return value


def _list(invocation: Invocation, annotator: str | None, protocol: str | None) -> Outcome:
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


def _show(console: Console, document: dict[str, Any]) -> None:
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
