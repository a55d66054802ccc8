"""The command line: one console script, whose subcommands are loaded when they are called.

``pathquorum --help`` must be quick, so this module imports click alone; the summaries below stand
here and not in the commands' modules, and a test keeps the two the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from annotation.errors import PathquorumError
from annotation.terminal import one_line

__all__ = ["main", "root", "run"]

# name: (module:attribute, summary)
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("annotation.commands.init:init", "Create the store, or upgrade an older one."),
    "protocol": ("annotation.commands.protocols:protocol", "Protocols: what is rated, and how."),
    "annotator": ("annotation.commands.people:annotator", "People and what entitles them."),
    "key": ("annotation.commands.keys:key", "Keys that people sign with."),
    "slide": ("annotation.commands.slides:slide", "Slides, their patients and sites."),
    "study": ("annotation.commands.study:study", "Ethics approval and intended use."),
    "distribute": (
        "annotation.commands.distribution:distribute",
        "Make a QuPath project for each annotator.",
    ),
    "assign": (
        "consensus.commands.assign:assign",
        "Plan who reads what; add, move and withdraw slides.",
    ),
    "pull": ("annotation.commands.pulls:pull", "Bring what an annotator drew into the store."),
    "history": ("annotation.commands.pulls:history", "What one annotator drew on one slide."),
    "diff": ("annotation.commands.pulls:diff", "What changed between two pulls."),
    "restore": ("annotation.commands.pulls:restore", "Write an earlier state as GeoJSON."),
    "agreement": ("consensus.commands.agreement:agreement", "How far the raters agree."),
    "compare": ("consensus.commands.compare:compare", "By how much two arms differ."),
    "consensus": ("consensus.commands.runs:consensus", "Fuse the ratings to a consensus."),
    "adjudicate": ("consensus.commands.adjudication:adjudicate", "Decide what is disputed."),
    "release": ("consensus.commands.releases:release", "Freeze a training set."),
    "encode": ("models.commands.encode:encode", "Turn slides into features."),
    "tune": ("models.commands.tune:tune", "Fine-tune an encoder on a release."),
    "train": ("models.commands.train:train", "Train a model on a release."),
    "evaluate": (
        "models.commands.evaluate:evaluate",
        "Judge a model on slides that it has not seen.",
    ),
    "predict": ("models.commands.predict:predict", "Predict slides with a model."),
    "triage": (
        "models.commands.triage:triage",
        "Bring what a model is not sure of to a person.",
    ),
    "drift": (
        "models.commands.drift:drift",
        "Notice when slides, predictions or readers change.",
    ),
    "report": ("consensus.commands.report:report", "Write the concordance report."),
    "push": ("models.commands.push:push", "Write a consensus or predictions for QuPath."),
    "status": ("consensus.commands.status:status", "Where the study stands."),
    "trace": (
        "consensus.commands.provenance:trace",
        "The reads and decisions behind something.",
    ),
    "scripts": ("annotation.commands.scripts:scripts", "Hand out scripts for QuPath."),
    "doctor": ("annotation.commands.doctor:doctor", "What is found here, and what is missing."),
    "signature": ("consensus.commands.signatures:signature", "What was signed, and if it holds."),
    "audit": ("annotation.commands.audit:audit", "Check and export the audit trail."),
    "store": ("annotation.commands.store:store", "Keep, bring back, check and move the store."),
    "demo": ("annotation.commands.demo:demo", "The whole chain on generated slides."),
}


# Subcommands that build on the other packages, by the group that they belong to.
ADDED: dict[str, dict[str, str]] = {
    "slide": {"show": "consensus.commands.provenance:slide_show"},
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a study needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        loaded = _loaded(COMMANDS[cmd_name][0])
        for name, place in ADDED.get(cmd_name, {}).items():
            if isinstance(loaded, click.Group) and name not in loaded.commands:
                loaded.add_command(_loaded(place), name)
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands from their summaries, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _loaded(place: str) -> click.Command:
    module, _, attribute = place.partition(":")
    loaded: Any = getattr(import_module(module), attribute)
    if not isinstance(loaded, click.Command):
        raise TypeError(f"{place} is no command")
    return loaded


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--log-json", is_flag=True, help="Write logs as JSON lines, of any command.")
@click.version_option(package_name="pathquorum", prog_name="pathquorum")
def root(log_json: bool) -> None:
    """From several pathologists' QuPath annotations to a traceable consensus.

    A study begins with `init`, `protocol add`, `annotator add` and `slide add`; then `pull` what
    each person drew, look at `agreement`, fuse with `consensus run`, `adjudicate`, and freeze a
    `release`. `pathquorum demo` walks the whole way on generated slides.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status: the one place where faults become one."""
    try:
        status = root.main(args=list(arguments), prog_name="pathquorum", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped; what was under way was not stored.", err=True)
        return 130
    except PathquorumError as error:
        click.echo(f"Error: {one_line(str(error))}", err=True)
        return 1
    except BrokenPipeError:
        # The reader went away (`| head`); Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        click.echo(f"Error: {one_line(str(error))}; nothing was stored", err=True)
        return 1
    return status if isinstance(status, int) else 0


def main() -> None:
    """The console script ``pathquorum``."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
