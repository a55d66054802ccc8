"""`push`: a consensus, or what a model says, on its way into QuPath."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from annotation.push import PushResult
    from models.pushing.predicted_run import PredictedRun


@click.command(short_help="Write a consensus or predictions for QuPath.")
@click.option("--run", type=int, help="The consensus run to write.")
@click.option(
    "--predictions", metavar="ID", help="The prediction run to write: its name or number."
)
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="TARGET",
    help="A project.qpproj, or a folder for GeoJSON files, which is made if it is missing.",
)
@click.option(
    "--as",
    "regions",
    type=click.Choice(["annotations", "detections"]),
    help="What predicted regions become; default: annotations, locked.",
)
@click.option("--tiles", is_flag=True, help="Also the predicted tiles, as detections.")
@click.option(
    "--allow-missing", is_flag=True, help="Write those predicted slides that are done already."
)
@click.option("--gzip", "compress", is_flag=True, help="Write .geojson.gz files into a folder.")
@click.option("--revert", is_flag=True, help="Take out what was pushed there instead.")
@click.option(
    "--qupath-is-elsewhere",
    is_flag=True,
    help="A QuPath that runs on this machine has another project open.",
)
@command
def push(
    invocation: Invocation,
    run: int | None,
    predictions: str | None,
    target: Path,
    regions: Literal["annotations", "detections"] | None,
    tiles: bool,
    allow_missing: bool,
    compress: bool,
    revert: bool,
    qupath_is_elsewhere: bool,
) -> Outcome:
    """Write a consensus or predictions into a QuPath project, or as GeoJSON, one file a slide.

    With --run each region or object is a locked annotation in its class's colour, with the posterior
    among its measurements. Slivers below the protocol's least area go to the neighbour with the
    longest border. All of it is written, or nothing.

    With --predictions regions bear classes below `Predicted`, and say that they are for reference
    only. --tiles brings each tile as a detection whose measurements QuPath's measurement maps show.
    Into a project go the slide's scores as well, among its image's metadata. Slide by slide is
    written whole or not at all: one that fails is named and the others go on, with exit status 1;
    pushed again, what is there is skipped.

    What comes back in a pull counts as ours, never as somebody's read. Pushing again adds nothing;
    with --revert exactly what was pushed is taken out, unless somebody has changed it. A project must
    be closed in QuPath, and what people drew in it is never changed. GeoJSON files are dragged onto
    their images in QuPath.
    """
    from annotation.push import is_project

    if (run is None) == (predictions is None):
        raise click.UsageError("Name one of --run and --predictions.")
    if run is not None and (regions is not None or tiles or allow_missing):
        raise click.UsageError("--as, --tiles and --allow-missing are of --predictions.")
    if compress and is_project(target):
        raise click.UsageError("--gzip is of a folder.")
    options = {"compress": compress, "qupath_is_elsewhere": qupath_is_elsewhere}
    if run is not None:
        return _push_consensus(invocation, run, target, revert, options)
    return _push_predictions(
        invocation, str(predictions), target, regions or "annotations", tiles=tiles,
        allow_missing=allow_missing, revert=revert, options=options,
    )  # fmt: skip


def _push_consensus(
    invocation: Invocation, run: int, target: Path, revert: bool, options: dict[str, bool]
) -> Outcome:
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
            elsewhere = options["qupath_is_elsewhere"]
            result = take_back(store, target, origin_of(run), qupath_is_elsewhere=elsewhere)
        else:
            consensus = Consensus(session, found)
            result = push_objects(
                store,
                target,
                origin_of(run),
                consensus_objects(session, consensus, cleaning),
                **options,
            )
    _tell_notes(invocation, result)
    document = {
        **result.to_dict(),
        "slivers": cleaning.slivers,
        "slivers_um2": round(cleaning.moved_um2, 6),
    }

    def show(console: Console) -> None:
        _show(console, result, target, revert, "The consensus has")
        if cleaning.slivers:
            console.print(
                f"{counted(cleaning.slivers, 'sliver')}, {cleaning.moved_um2:,.0f} um2 in all, "
                "went to the neighbour with the longest border."
            )

    return Outcome(document, show)


def _push_predictions(
    invocation: Invocation,
    given: str,
    target: Path,
    regions: Literal["annotations", "detections"],
    *,
    tiles: bool,
    allow_missing: bool,
    revert: bool,
    options: dict[str, bool],
) -> Outcome:
    from annotation.push_by_slide import push_by_slide, revert_by_slide
    from models.pushing.predicted_objects import slides_to_push
    from models.pushing.predicted_run import predicted_run
    from models.pushing.run_files import check_files

    store = invocation.store
    with store.reading() as session:
        run = predicted_run(session, given, allow_missing=allow_missing, revert=revert)
    slides = slides_to_push(run, regions=regions, tiles=tiles)
    if revert:
        why = "not predicted now, so that scores in their images' metadata stay"
        _tell_slides(invocation, why, run.left_out)
        elsewhere = options["qupath_is_elsewhere"]
        result = revert_by_slide(store, target, run.origin, slides, qupath_is_elsewhere=elsewhere)
    else:
        check_files(run.slides)
        result = push_by_slide(store, target, run.origin, slides, **options)
        _tell_left_out(invocation, run, result)
    _tell_notes(invocation, result)
    if result.failed:
        _refuse_failed(invocation, run, result, target)
    document: dict[str, Any] = {
        **result.to_dict(),
        "predictions": run.name,
        "not_done": run.left_out if not revert else [],
    }
    return Outcome(
        document, lambda console: _show(console, result, target, revert, "The predictions have")
    )


def _tell_notes(invocation: Invocation, result: PushResult) -> None:
    for note in result.notes:
        invocation.say(f"Note: {note}.")


def _tell_left_out(invocation: Invocation, run: PredictedRun, result: PushResult) -> None:
    _tell_slides(invocation, "not in the project, skipped", result.skipped_slides)
    _tell_slides(invocation, "not predicted yet, left out", run.left_out)


def _tell_slides(invocation: Invocation, why: str, names: Sequence[str]) -> None:
    if names:
        invocation.say(f"{counted(len(names), 'slide')} {why}: {', '.join(names)}.")


def _refuse_failed(
    invocation: Invocation, run: PredictedRun, result: PushResult, target: Path
) -> NoReturn:
    """Say of each slide that failed why it did, and what became of the others."""
    from annotation.errors import RefusedError
    from annotation.push_result import listed

    for one in result.failed:
        invocation.say(f"Slide {one['slide']!r} failed: {one['reason']}.")
    objects = result.pushed + result.skipped + result.reverted
    raise RefusedError(
        f"{counted(len(result.failed), 'slide')} of prediction run {run.name!r} failed "
        f"({listed([one['slide'] for one in result.failed])}); those of the others, "
        f"{counted(objects, 'object')}, are done in {target}: mend these and run this again, what is "
        "done stays",
        failed=tuple(one["slide"] for one in result.failed),
    )


def _show(console: Console, result: PushResult, target: Path, revert: bool, nothing: str) -> None:
    from annotation.push import is_project

    project = is_project(target)
    places = counted(len(result.targets), "image" if project else "file")
    if revert:
        text = f"Took back {counted(result.reverted, 'object')} in {places} from {target}."
    elif result.pushed or result.skipped or result.removed or result.targets:
        there = f"; {result.skipped} were there already" if result.skipped else ""
        gone = f"; {result.removed} of an earlier push are gone" if result.removed else ""
        drag = "" if project else ": drag each onto its image in QuPath"
        text = f"Wrote {counted(result.pushed, 'object')}{there}{gone}. {places} in {target}{drag}."
    else:
        text = f"{nothing} nothing to draw; nothing was written."
    console.print(text, markup=False, soft_wrap=True)
