"""`assign`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from annotation.commands.distribution import (
    listed,
    names,
    needed,
    planned,
    show_handed_out,
    washout_of,
)
from annotation.terminal import Invocation, Outcome, command
from consensus.commands.planning import plan_study, planning_options

if TYPE_CHECKING:
    from annotation.distribution.planning import HandOut

MAKE_ONE = ""
"""`--plan` without a file: make one."""


@click.command(short_help="Plan who reads what; add, move and withdraw slides.")
@click.option("--protocol", metavar="NAME", help="The protocol, or NAME@VERSION.")
@click.option("--annotator", metavar="HANDLE", help="Who gets the slides, or had them.")
@click.option(
    "--slides", metavar="A,B",
    help="Which slides; to plan, move or withdraw: all, unless said.",
)  # fmt: skip
@click.option(
    "--to", "target", type=click.Path(path_type=Path), metavar="DIR|FILE.csv",
    help="Where the projects are; one is made where a person has none. Or the plan's file.",
)  # fmt: skip
@click.option("--from", "origin", metavar="HANDLE", help="From whom to move what is not read yet.")
@click.option("--to-annotator", "heir", metavar="HANDLE", help="To whom to move it.")
@click.option("--withdraw", is_flag=True, help="Take back what is not read yet.")
@click.option("--list", "listing", is_flag=True, help="List all assignments, with masked names.")
@click.option(
    "--plan", is_flag=False, flag_value=MAKE_ONE, metavar="[FILE.csv]",
    help="Make a plan of who reads what; with a file: add the slides that it says.",
)  # fmt: skip
@click.option("--annotators", metavar="A,B", help="With --plan: who reads.")
@planning_options
@click.option("--seed", type=int, default=0, show_default=True, help="For plans, masks and order.")
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
    target: Path | None,
    origin: str | None,
    heir: str | None,
    withdraw: bool,
    listing: bool,
    plan: str | None,
    annotators: str | None,
    seed: int,
    domain: Path | None,
    replicate: int,
    washout: int | None,
    force: str | None,
    qupath_is_elsewhere: bool,
    reason: str | None,
    **planning: Any,
) -> Outcome:
    """Plan who reads what; add slides to an annotator's project, move or withdraw them.

    To plan: --plan, --protocol, --annotators, --raters-per-slide and perhaps --to FILE.csv; it
    changes nothing, and says how wide kappa's interval will be. `distribute --plan FILE.csv` makes
    the projects, `assign --plan FILE.csv --to DIR` adds to them. To add: --annotator, --slides,
    --protocol and --to. To move: --from, --to-annotator, --protocol and --to. To withdraw:
    --withdraw, --annotator and --protocol. What was read stays with whoever read it, and so does
    what was drawn. Masked names stand in --list and nowhere else.
    """
    from annotation.distribution import reassigning
    from annotation.distribution.handing_out import hand_out
    from annotation.distribution.planning import HandOut

    moving = origin is not None or heir is not None
    if moving + withdraw + listing + (plan is not None) > 1:
        raise click.UsageError(
            "Choose one of --from with --to-annotator, --withdraw, --list and --plan."
        )
    if plan is None and annotators is not None:
        raise click.UsageError("--annotators belongs to --plan; name one with --annotator.")
    if plan == MAKE_ONE:
        return plan_study(
            invocation,
            protocol=needed("protocol", protocol),
            annotators=names(needed("annotators", annotators)) or [],
            slides=names(slides),
            seed=seed,
            washout_days=washout,
            file=target,
            **planning,
        )
    _refuse_planning(planning)
    if listing:
        return listed(invocation, annotator, protocol)
    if plan is None:
        needed("protocol", protocol)
    if withdraw:
        taken = reassigning.withdraw(
            invocation.store,
            needed("annotator", annotator),
            needed("protocol", protocol),
            slides=names(slides),
            folder=target,
            reason=reason,
        )
        return _handed_out(taken.to_dict())
    request = HandOut(
        annotators=[],
        protocol=protocol or "",
        folder=needed("to", target),
        slides=names(slides),
        replicate=replicate,
        washout=washout_of(washout, force) if plan is None else None,
        domain=domain,
        seed=seed,
        qupath_is_elsewhere=qupath_is_elsewhere,
    )
    if moving:
        giver, request = needed("from", origin), _for(request, needed("to-annotator", heir))
        moved = reassigning.move(invocation.store, giver, request, reason=reason)
        return _handed_out(moved.to_dict())
    if plan is not None:
        people = names(annotators) if annotator is None else [annotator]
        request = planned(request, Path(plan), people, washout, force)
    else:
        needed("slides", slides)
        request = _for(request, needed("annotator", annotator))
    return _handed_out(hand_out(invocation.store, request).to_dict())


def _for(request: HandOut, annotator: str) -> HandOut:
    return replace(request, annotators=[annotator])


def _handed_out(document: dict[str, Any]) -> Outcome:
    return Outcome(document, lambda console: show_handed_out(console, document))


def _refuse_planning(planning: dict[str, Any]) -> None:
    """What is only for making a plan must not be taken for something else."""
    context = click.get_current_context()
    for name in planning:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is for making a plan; give --plan without a file.")
