"""`--key` and `--passphrase-file`, and the one question for a passphrase.

A passphrase comes from a file, an environment variable or a prompt: never from the command line,
where every user of the machine could read it, and it goes into no log or message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from annotation.errors import InputError

if TYPE_CHECKING:
    from annotation.signing.key_files import UnlockedKey

__all__ = [
    "PASSPHRASE_VARIABLE",
    "passphrase_option",
    "read_passphrase",
    "signing_options",
    "unlocked",
]

PASSPHRASE_VARIABLE = "PATHQUORUM_PASSPHRASE"  # noqa: S105 - the name, not the secret
_LONGEST_BYTES = 1000

Function = TypeVar("Function", bound=Callable[..., Any])

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Its first line is the passphrase; default: ${PASSPHRASE_VARIABLE}, else it is asked for.",
)


def signing_options(function: Function) -> Function:
    """Give a command ``--key`` and ``--passphrase-file``; see :func:`unlocked`."""
    key = click.option(
        "--key",
        "key_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Sign with this private key (`key create` makes one).",
    )
    return key(passphrase_option(function))


def unlocked(key_file: Path | None, passphrase_file: Path | None) -> UnlockedKey | None:
    """The key to sign with; None where none was named.

    Asked for before a transaction begins, so that nobody waits for whoever is typing.
    """
    if key_file is None:
        if passphrase_file is not None:
            raise click.UsageError("--passphrase-file goes with --key FILE")
        return None
    from annotation.signing.key_files import unlock

    return unlock(key_file, read_passphrase(passphrase_file, f"Passphrase of {key_file}"))


def read_passphrase(file: Path | None, question: str, *, twice: bool = False) -> str:
    """The passphrase from a file, else from the environment, else from whoever sits there."""
    if file is not None:
        passphrase, source = _first_line(file), f"the passphrase in {file}"
    elif os.environ.get(PASSPHRASE_VARIABLE):
        passphrase, source = (
            os.environ[PASSPHRASE_VARIABLE],
            f"the passphrase in ${PASSPHRASE_VARIABLE}",
        )
    elif sys.stdin.isatty():
        passphrase = click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
        source = "the passphrase"
    else:
        raise InputError(
            "there is no terminal to ask for the passphrase; give --passphrase-file FILE, or set "
            f"{PASSPHRASE_VARIABLE}"
        )
    try:
        length = len(passphrase.encode())
    except UnicodeEncodeError:
        raise InputError(f"{source} is no UTF-8 text; choose another") from None
    if not 0 < length <= _LONGEST_BYTES:
        raise InputError(f"{source} is empty or longer than {_LONGEST_BYTES} bytes; choose another")
    return passphrase


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            line = stream.readline(_LONGEST_BYTES + 3)
        return line.decode().rstrip("\r\n")
    except OSError as error:
        raise InputError(
            f"the passphrase file {file} can't be read ({error.strerror}); name another"
        ) from error
    except UnicodeDecodeError:
        raise InputError(f"the passphrase in {file} is no UTF-8 text; choose another") from None
