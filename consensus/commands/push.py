"""`push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.push import PushResult


@click.command(short_help="Write a consensus for QuPath.")
@click.option("--run", required=True, type=int, help="The consensus run to write.")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="TARGET",
    help="A project.qpproj, or a folder for GeoJSON files, which is made if it is missing.",
)
@click.option("--revert", is_flag=True, help="Take out what was pushed there instead.")
@click.option(
    "--qupath-is-elsewhere",
    is_flag=True,
    help="A QuPath that runs on this machine has another project open.",
)
@command
def push(
    invocation: Invocation, run: int, target: Path, revert: bool, qupath_is_elsewhere: bool
) -> Outcome:
    """Write the consensus of a run into a QuPath project, or as GeoJSON, one file a slide.

    Each region or object is a locked annotation in its class's colour, with the posterior among
    its measurements. Slivers below the protocol's least area go to the neighbour with the longest
    border. What comes back in a pull counts as ours, never as somebody's read. Pushing again adds
    nothing; with --revert exactly what was pushed is taken out, unless somebody has changed it.

    A project must be closed in QuPath. What people drew in it is never changed, and it is written
    all at once or not at all. GeoJSON files are dragged onto their images in QuPath.
    """
    from annotation.push import push as push_objects
    from annotation.push import revert as take_back
    from consensus.consensus_items import Consensus
    from consensus.drawn_regions import Cleaning
    from consensus.push_regions import consensus_objects, origin_of
    from consensus.runs import find_run

    store = invocation.store
    cleaning = Cleaning()
    with store.reading() as session:
        found = find_run(session, run)
        if revert:
            result = take_back(
                store, target, origin_of(run), qupath_is_elsewhere=qupath_is_elsewhere
            )
        else:
            consensus = Consensus(session, found)
            result = push_objects(
                store,
                target,
                origin_of(run),
                consensus_objects(session, consensus, cleaning),
                qupath_is_elsewhere=qupath_is_elsewhere,
            )
    for note in result.notes:
        invocation.say(f"Note: {note}.")
    document = {
        **result.to_dict(),
        "slivers": cleaning.slivers,
        "slivers_um2": round(cleaning.moved_um2, 6),
    }

    def show(console: Console) -> None:
        _show(console, result, target, revert)
        if cleaning.slivers:
            console.print(
                f"{counted(cleaning.slivers, 'sliver')}, {cleaning.moved_um2:,.0f} um2 in all, "
                "went to the neighbour with the longest border."
            )

    return Outcome(document, show)


def _show(console: Console, result: PushResult, target: Path, revert: bool) -> None:
    project = target.suffix.lower() == ".qpproj"
    places = counted(len(result.targets), "image" if project else "file")
    if revert:
        text = f"Took back {counted(result.reverted, 'object')} in {places} from {target}."
    elif result.pushed or result.skipped or result.removed:
        there = f"; {result.skipped} were there already" if result.skipped else ""
        gone = f"; {result.removed} of an earlier push are gone" if result.removed else ""
        drag = "" if project else ": drag each onto its image in QuPath"
        text = f"Wrote {counted(result.pushed, 'object')}{there}{gone}. {places} in {target}{drag}."
    else:
        text = "The consensus has nothing to draw; nothing was written."
    console.print(text, markup=False, soft_wrap=True)
