"""`demo`."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from annotation.terminal import Invocation, Outcome, command


@click.command(short_help="The whole chain on generated slides.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("pathquorum-demo"),
    show_default=True,
    help="The folder; unless --store is given, it gets its own store.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other slides.")
@command
def demo(invocation: Invocation, folder: Path, seed: int) -> Outcome:
    """Walk the whole chain on generated slides with simulated pathologists.

    Every step is a command that you could type; each is printed before it runs.
    """
    from annotation.cli import run
    from annotation.demo.study import DemoStudy, prepare_folder

    source = click.get_current_context().get_parameter_source("store_url")
    prepare_folder(folder)
    own = f"sqlite:///{folder / 'study.db'}"
    store = invocation.store_url if source is ParameterSource.COMMANDLINE else own
    study = DemoStudy(folder, store, seed=seed, command_line=run, tell=click.echo)
    made: dict[str, Any] = {}
    if invocation.as_json:
        with redirect_stdout(io.StringIO()):
            made = study.walk()
    else:
        made = study.walk()
    return Outcome(made, lambda _console: None)
