"""`study`: what is said of the study as a whole."""

from __future__ import annotations

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command

__all__ = ["study"]


@click.group(short_help="Ethics approval and intended use.")
def study() -> None:
    """What is said of the study as a whole: its ethics approval and its intended use."""


@study.command("describe")
@click.option("--ethics", metavar="TEXT", help="The reference of the ethics approval.")
@click.option("--intended-use", metavar="TEXT", help="What the labels and models are meant for.")
@command
def study_describe(invocation: Invocation, ethics: str | None, intended_use: str | None) -> Outcome:
    """Say something of the study; the last word holds, and every earlier one stays on record."""
    from annotation.study_statements import state, statements

    given = {"ethics": ethics, "intended-use": intended_use}
    if not any(text is not None for text in given.values()):
        raise InputError("there is nothing to say; give --ethics or --intended-use")
    with invocation.store.writing() as session:
        for kind, text in given.items():
            if text is not None:
                state(session, kind, text)
        said = statements(session)
    return _said(said)


@study.command("show")
@command
def study_show(invocation: Invocation) -> Outcome:
    """Show what is said of the study."""
    from annotation.study_statements import statements

    with invocation.store.reading() as session:
        said = statements(session)
    return _said(said)


def _said(said: dict[str, str]) -> Outcome:
    from annotation.study_statements import KINDS

    lines = [f"{words}: {said.get(kind, 'missing')}" for kind, words in KINDS.items()]
    return Outcome(
        {kind.replace("-", "_"): said.get(kind) for kind in KINDS},
        lambda console: console.print("\n".join(lines), markup=False, soft_wrap=True),
    )
