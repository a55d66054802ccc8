"""Pages from templates in which every name is escaped, and the report's page from its sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annotation.terminal import plain

if TYPE_CHECKING:
    from jinja2 import Environment

    from consensus.report import Report

__all__ = ["page_environment", "render"]

LONGEST_WORD: Final = 18


def page_environment(*rooms: tuple[str, str]) -> Environment:
    """What pages are made with: every name is escaped and freed of control characters.

    Parameters
    ----------
    rooms
        Package and folder of further templates; those of the report are always found.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader(*room) for room in (*rooms, ("consensus", "reporting"))]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["long_word"] = _has_long_word
    return environment


def render(report: Report) -> str:
    """The report's page."""
    environment = page_environment()
    return environment.get_template("report.html.jinja").render(
        report=report,
        protocol=report.protocol,
        study=report.study,
        agreement=report.agreement,
        consensus=report.consensus,
        sensitivity=report.sensitivity,
        figures=report.figures,
        versions=report.versions,
        triages=report.triages,
        adjudicated=report.consensus.adjudicated,
        crosswalk=report.crosswalk,
        made=report.made,
    )


def _printable(value: Any) -> Any:
    """A name without the characters that would turn round or hide what stands beside it."""
    # Markup is what a macro of the template made, of parts that went through here already.
    return plain(value) if type(value) is str else value


def _has_long_word(text: object) -> bool:
    """Whether a name has a word that no column of a table can hold in one line."""
    return max(map(len, str(text).split()), default=0) > LONGEST_WORD
