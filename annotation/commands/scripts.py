"""`scripts`."""

from __future__ import annotations

from pathlib import Path

import click

from annotation.terminal import Invocation, Outcome, command, counted


@click.command(short_help="Hand out scripts for QuPath.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where they go.",
)
@click.option("--protocol", metavar="NAME", help="A protocol whose classes go into them.")
@click.option("--force", is_flag=True, help="Write over scripts that say something else.")
@command
def scripts(invocation: Invocation, folder: Path, protocol: str | None, force: bool) -> Outcome:
    """Hand out scripts for QuPath's script editor, for people without Python.

    They export annotations, import what `push` wrote, set up a protocol's classes, and check one's
    work before it is handed in. Each says at its beginning how to run it.
    """
    from annotation.handed_scripts import hand_out_scripts
    from annotation.lookup import find_protocol
    from annotation.study import protocol_of

    found = None
    if protocol is not None:
        with invocation.store.reading() as session:
            found = protocol_of(find_protocol(session, protocol))
    written = hand_out_scripts(folder, found, force=force)
    text = (
        f"Wrote {counted(len(written), 'script')} to {folder}; run them in QuPath's script editor."
    )
    return Outcome(
        {"files": [str(path) for path in written]},
        lambda console: console.print(text, markup=False, soft_wrap=True),
    )
