"""`pull`, `history`, `diff` and `restore`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.commands.dates import DATE, as_date
from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.pull import PulledRead, PullResult
    from annotation.store import Store


@click.command(short_help="Bring what an annotator drew into the store.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--annotator", metavar="HANDLE", help="Who drew it.")
@click.option("--protocol", metavar="NAME", help="Its protocol, or NAME@VERSION.")
@click.option("--slide", metavar="NAME", help="The slide, where the file's name doesn't say.")
@click.option("--read-date", type=DATE, metavar="DATE", help="When the slide was read.")
@click.option(
    "--replicate", type=int, metavar="N", help="Which reading it is; the first, unless said."
)
@click.option("--based-on", type=int, metavar="READ", help="The read that this one corrects.")
@click.option(
    "--slides-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Where to look for the images of a project that have moved.",
)
@click.option("--ai-assisted", is_flag=True, help="The reader had predictions in sight.")
@click.option("--accept-removals", is_flag=True, help="Let most of a read's objects vanish.")
@click.option("--accept-copy", is_flag=True, help="Take a file that was pulled for another read.")
@click.option("--strict", is_flag=True, help="Refuse the pull if any object is faulty.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@command
def pull(
    invocation: Invocation,
    source: Path,
    annotator: str | None,
    protocol: str | None,
    slide: str | None,
    read_date: datetime | None,
    replicate: int | None,
    based_on: int | None,
    slides_root: Path | None,
    ai_assisted: bool,
    accept_removals: bool,
    accept_copy: bool,
    strict: bool,
    dry_run: bool,
) -> Outcome:
    """Bring what an annotator drew into the store.

    SOURCE is a GeoJSON export of QuPath, a folder of them, or a project.qpproj; these need
    --annotator and --protocol. A project that `distribute` handed out needs neither, and of a
    folder that holds several all are taken, or those of --annotator. Pulling again adds only what
    changed.
    """
    from annotation.distribution.bound_projects import find_bound_projects
    from annotation.pull import PullRequest
    from annotation.pull import pull as pull_sources

    store = invocation.store
    request = PullRequest(
        sources=(),
        slide=slide,
        read_date=as_date(read_date),
        replicate=1 if replicate is None else replicate,
        based_on=based_on,
        slides_root=slides_root,
        ai_assisted=ai_assisted,
        accept_removals=accept_removals,
        accept_copy=accept_copy,
        strict=strict,
        dry_run=dry_run,
        display=source.name,
    )
    found = find_bound_projects(source)
    if found.bound:
        from annotation.distribution.bound_projects import Wanted, open_bound_projects

        wanted = Wanted(annotator, protocol, slide, replicate)
        with store.reading() as session:
            opened = open_bound_projects(session, found, wanted)
        request = replace(
            request,
            sources=opened.sources,
            assignments=opened.assignments,
            notes=opened.notes,
        )
    else:
        request = replace(request, **_named_read(store, source, annotator, protocol))
    result = pull_sources(store, request)
    for note in result.notes:
        invocation.say(f"Note: {note}.")
    return Outcome(result.to_dict(), lambda console: _show_pull(console, result))


def _named_read(
    store: Store, source: Path, annotator: str | None, protocol: str | None
) -> dict[str, Any]:
    """What is not bound to anybody needs names."""
    from annotation.lookup import find_protocol
    from annotation.sources import open_sources
    from annotation.study import protocol_of

    for option, value in (("--annotator", annotator), ("--protocol", protocol)):
        if value is None:
            raise click.UsageError(
                f"Missing option '{option}': only a project that `distribute` handed out says it "
                "itself."
            )
    with store.reading() as session:
        found = protocol_of(find_protocol(session, protocol))
    label_key = found.slides.label_key if found.task == "slides" else None
    return {
        "sources": open_sources(source, label_key=label_key),
        "annotator": annotator,
        "protocol": protocol,
    }


def _show_pull(console: Console, result: PullResult) -> None:
    heading = (
        "Nothing was stored; a pull would bring:"
        if result.pull is None
        else (f"Pull {result.pull}:")
    )
    console.print(heading)
    console.print(
        table(
            None,
            "slide",
            "annotator",
            "objects",
            "added",
            "changed",
            "removed",
            "unchanged",
            "rejected",
            "ours",
            rows=[
                [
                    r.slide,
                    r.annotator,
                    c.objects,
                    c.added,
                    c.changed,
                    c.removed,
                    c.unchanged,
                    c.rejected,
                    c.ours,
                ]
                for r in result.reads
                for c in (r.changes,)
            ],
        )
    )
    for read in result.reads:
        for line in remarks(read):
            console.print(f"{read.slide}: {line}", markup=False)


def remarks(read: PulledRead) -> list[str]:
    """What to send to the pathologist: one sentence first, then what needs a name."""
    changes = read.changes
    parts = [
        f"{count} {what}"
        for count, what in (
            (changes.unclassified, "unclassified"),
            (changes.outside_domain, "outside your region"),
            (changes.unmapped, "with a class the protocol doesn't know"),
            (changes.rejected, "could not be taken"),
            (changes.repaired, "repaired"),
            (changes.overhanging, "overhanging the slide's edge"),
        )
        if count
    ]
    lines = [", ".join(parts) + "."] if parts else ["nothing to mend."]
    lines += [
        f"class {name!r} ({entry['objects']}) is unknown"
        + (f"; the nearest known one is {entry['nearest']!r}." if entry["nearest"] else ".")
        for name, entry in sorted(changes.unmapped_classes.items())
    ]
    lines += [f"object {r.id} was left out: {r.reason}." for r in changes.rejections[:10]]
    if len(changes.rejections) > 10:
        lines.append(f"and {len(changes.rejections) - 10} more; --json lists them all.")
    lines += [
        f"{entry['objects']} outlines are vertex-identical to those of {entry['annotator']}: "
        "copied, not independent."
        for entry in changes.copied
    ]
    if read.excluded:
        lines.append(f"stored, but excluded from agreement and consensus: {read.excluded}.")
    return lines


@click.command(short_help="What one annotator drew on one slide.")
@click.option("--slide", required=True, metavar="NAME")
@click.option("--annotator", required=True, metavar="HANDLE")
@click.option("--as-of", metavar="T", help="A pull's number or an ISO 8601 time: the state then.")
@command
def history(invocation: Invocation, slide: str, annotator: str, as_of: str | None) -> Outcome:
    """List every revision of what one annotator drew on one slide, or the state at a moment."""
    from annotation.history import history as revisions_of

    with invocation.store.reading() as session:
        rows = revisions_of(session, slide, annotator, as_of)
    return Outcome({"revisions": rows}, lambda console: _show_revisions(console, rows))


@click.command(short_help="What changed between two pulls.")
@click.argument("first", type=int)
@click.argument("second", type=int)
@command
def diff(invocation: Invocation, first: int, second: int) -> Outcome:
    """List what the reads of two pulls hold differently after SECOND than after FIRST."""
    from annotation.history import diff as differences

    with invocation.store.reading() as session:
        rows = differences(session, first, second)
    return Outcome({"revisions": rows}, lambda console: _show_revisions(console, rows))


@click.command(short_help="Write an earlier state as GeoJSON.")
@click.argument("pull_number", metavar="PULL", type=int)
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), metavar="TARGET")
@command
def restore(invocation: Invocation, pull_number: int, target: Path) -> Outcome:
    """Write the state that PULL left as GeoJSON that QuPath reads.

    TARGET is a .geojson file, or a folder that gets one file a slide.
    """
    from annotation.history import restore as write_state

    with invocation.store.reading() as session:
        rows, files = write_state(session, pull_number, target)
    return Outcome(
        {"revisions": rows, "files": [str(path) for path in files]},
        lambda console: console.print(
            f"Wrote {counted(len(rows), 'object')} to {', '.join(str(path) for path in files)}.",
            markup=False,
        ),
    )


def _show_revisions(console: Console, rows: list[dict[str, Any]]) -> None:
    console.print(
        table(
            None,
            "object",
            "revision",
            "state",
            "class",
            "rated as",
            "pull",
            "at (UTC)",
            rows=[
                [
                    r["id"],
                    r["revision"],
                    r["state"],
                    r["class"],
                    r["mapped_class"],
                    r["pull"],
                    f"{r['at']:%Y-%m-%d %H:%M}",
                ]
                for r in rows
            ],
        )
    )
