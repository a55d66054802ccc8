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
    metavar="FOLDER",
    help="Where the GeoJSON files go; it is made if it is missing.",
)
@click.option("--revert", is_flag=True, help="Remove what was pushed there instead.")
@command
def push(invocation: Invocation, run: int, target: Path, revert: bool) -> Outcome:
    """Write the consensus of a run as GeoJSON that QuPath imports, one file a slide.

    Each region or object is a locked annotation in its class's colour, with the posterior among
    its measurements. Slivers below the protocol's least area go to the neighbour with the longest
    border. Drag a file onto its image in QuPath. What comes back in a pull counts as
    ours, never as somebody's read. Pushing again adds nothing; with --revert the files are removed,
    unless somebody has changed them.
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
            result = take_back(store, target, origin_of(run))
        else:
            consensus = Consensus(session, found)
            result = push_objects(
                store, target, origin_of(run), consensus_objects(session, consensus, cleaning)
            )
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
    if revert:
        text = f"Took back {counted(result.reverted, 'object')} in {counted(len(result.targets), 'file')} from {target}."
    elif result.pushed or result.skipped:
        there = f"; {result.skipped} were there already" if result.skipped else ""
        text = (
            f"Wrote {counted(result.pushed, 'object')}{there}. {counted(len(result.targets), 'file')} in {target}: drag "
            "each onto its image in QuPath."
        )
    else:
        text = "The consensus has nothing to draw; no file was written."
    console.print(text, markup=False, soft_wrap=True)
