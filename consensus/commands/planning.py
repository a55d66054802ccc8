"""Planning a study: what `assign --plan` asks for, makes and shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annotation.commands.dates import DATE, as_date
from annotation.terminal import Invocation, Outcome, table

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.orm import Session

    from annotation.tables import Slide

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_OPTIONS = (
    click.option("--raters-per-slide", type=int, metavar="R", help="To plan: readers of a slide."),
    click.option(
        "--replicates", metavar="K|SHARE", help="To plan: what each reads twice: 10, or 10%."
    ),
    click.option(
        "--start", type=DATE, metavar="DATE", help="To plan: when reading begins; default: today."
    ),
    click.option(
        "--expect-kappa", type=float, default=0.65, show_default=True, metavar="KAPPA",
        help="To plan: the agreement at which kappa's interval is simulated.",
    ),
    click.option(
        "--classes-prevalence", metavar="A=P,B=Q",
        help="To plan: how common the classes are; default: all equally.",
    ),
    click.option(
        "--items-per-slide", type=click.IntRange(min=1), default=1, show_default=True,
        help="To plan: independent items on a slide.",
    ),
    click.option(
        "--simulations", type=int, default=200, show_default=True, help="To plan: studies drawn."
    ),
    click.option(
        "--bootstrap", type=int, default=0, show_default=True,
        help="To plan: replicates over patients in each; 0: analytic intervals.",
    ),
)  # fmt: skip


def planning_options(function: Decorated) -> Decorated:
    """Give a command the options that only planning takes."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def plan_study(
    invocation: Invocation,
    *,
    protocol: str,
    annotators: Sequence[str],
    slides: Sequence[str] | None,
    seed: int,
    washout_days: int | None,
    file: Path | None,
    raters_per_slide: int | None,
    replicates: str | None,
    start: datetime | None,
    expect_kappa: float,
    classes_prevalence: str | None,
    items_per_slide: int,
    simulations: int,
    bootstrap: int,
) -> Outcome:
    """Plan who reads what, write it if it is to be written, and say how much it will tell."""
    import numpy as np

    from annotation.commands.distribution import names
    from annotation.distribution.plan_file import write_plan
    from annotation.distribution.study_plan import PlanRequest, Replicates, make_plan
    from annotation.lookup import find_annotator, find_protocol
    from annotation.store import now
    from annotation.study import protocol_of
    from consensus.planning import Assumptions, expected_widths, parse_prevalence

    if raters_per_slide is None:
        raise click.UsageError("Missing option '--raters-per-slide'.")
    if (replicates is None) != (washout_days is None):
        raise click.UsageError("--replicates and --washout DAYS belong together; give both.")
    again = None
    if replicates is not None and washout_days is not None:
        again = Replicates.parse(replicates, washout_days)
    shares = names(classes_prevalence)
    with invocation.store.reading() as session:
        row = find_protocol(session, protocol)
        people = [find_annotator(session, handle).handle for handle in annotators]
        found = _slides(session, slides)
    assumed = Assumptions.of(
        protocol_of(row),
        expect_kappa,
        None if shares is None else parse_prevalence(shares),
        items_per_slide,
    )
    plan = make_plan(
        PlanRequest(
            protocol=f"{row.name}@{row.version}",
            slides=[(slide.name, site) for slide, site, _ in found],
            annotators=people,
            raters_per_slide=raters_per_slide,
            seed=seed,
            start=as_date(start) or now().date(),
            replicates=again,
        )
    )
    rated = np.zeros((len(found), len(people)), dtype=bool)
    for slide, block in enumerate(plan.design.blocks):
        rated[slide, list(block)] = True
    width = expected_widths(
        rated,
        [patient for _, _, patient in found],
        assumed,
        simulations=simulations,
        bootstrap=bootstrap,
        seed=seed,
    )
    if file is not None:
        write_plan(plan, file)
    without = sum(slide.path is None for slide, _, _ in found)
    document = {
        **plan.to_dict(),
        "interval": width,
        "file": None if file is None else str(file),
        "without_image": without,
    }
    return Outcome(document, lambda console: _show(console, document))


def _slides(session: Session, wanted: Sequence[str] | None) -> list[tuple[Slide, str | None, str]]:
    """Slides with their sites (else their patients' sites) and their patients (else themselves)."""
    from sqlalchemy import select

    from annotation.lookup import find_slide
    from annotation.tables import Patient, Site, Slide

    if wanted is None:
        chosen = session.scalars(select(Slide).order_by(Slide.name)).all()
    else:
        chosen = [find_slide(session, name) for name in wanted]
    patients = {row.id: row for row in session.scalars(select(Patient))}
    sites = {row.id: row.name for row in session.scalars(select(Site))}
    found = []
    for slide in chosen:
        patient = None if slide.patient_id is None else patients[slide.patient_id]
        site = slide.site_id or (patient.site_id if patient else None)
        found.append(
            (slide, None if site is None else sites[site], patient.name if patient else slide.name)
        )
    return found


def _show(console: Console, document: dict[str, Any]) -> None:
    sites = sorted({site for entry in document["annotators"] for site in entry["sites"]})
    rows: list[list[object]] = [
        [
            entry["annotator"],
            entry["slides"],
            entry["replicates"],
            *(entry["sites"].get(site, 0) for site in sites),
        ]
        for entry in document["annotators"]
    ]
    console.print(table("Planned reads", "annotator", "slides", "again", *sites, rows=rows))
    console.print(f"Pairs: {document['pairs']['remark']}.", markup=False)
    days = {str(r["not_before"]) for r in document["reads"] if r["not_before"] is not None}
    if days:
        console.print(f"Second readings: not before {', '.join(sorted(days))}.")
    _show_interval(console, document["interval"])
    if document["without_image"]:
        console.print(f"Note: {document['without_image']} of the slides have no image to hand out.")
    if document["file"] is None:
        console.print("Nothing was written; keep the plan with --to FILE.csv.")
    else:
        console.print(
            f"Written to {document['file']}; hand it out with `pathquorum distribute --plan`.",
            markup=False,
            soft_wrap=True,
        )


def _show_interval(console: Console, interval: dict[str, Any]) -> None:
    def cells(name: str, found: dict[str, Any]) -> list[object]:
        if found["width"] is None:
            return [name, "-", "-", "-", found["status"]]
        lacking = interval["simulations"] - found["with_interval"]
        return [
            name,
            f"{found['width']:.3f} ± {found['width_error']:.3f}",
            f"{found['spread']:.3f} ± {found['spread_error']:.3f}",
            f"{found['coverage']:.1%}",
            f"{lacking} without one" if lacking else "",
        ]

    figures = {"all": interval["overall"], **interval["per_class"]}
    console.print(
        table(
            f"Expected width of the 95% interval of kappa = {interval['expect_kappa']:g} "
            f"({interval['weights']}, {interval['simulations']} simulated studies)",
            *("class", "width", "spread of kappa", "coverage", "remark"),
            rows=[cells(name, found) for name, found in figures.items()],
        )
    )
    for note in interval["notes"]:
        console.print(f"Note: {note}.", markup=False)
