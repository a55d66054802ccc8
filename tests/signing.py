"""Keys of people in a study, for the tests of signing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import CommandResult

__all__ = ["PASSPHRASE", "make_key", "secret_file"]

PASSPHRASE = "correct horse battery"


def secret_file(folder: Path, text: str = PASSPHRASE) -> Path:
    """A file that holds a passphrase."""
    path = folder / f"secret-{len(text)}"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def make_key(
    study: Callable[..., CommandResult], handle: str, folder: Path
) -> tuple[str, Path, str, Path]:
    """Make somebody's key; gives the options that sign with it."""
    file = folder / f"{handle}.pem"
    secret = secret_file(folder)
    made = study("key", "create", handle, "--to", file, "--passphrase-file", secret)
    assert made.status == 0, made.err
    return "--key", file, "--passphrase-file", secret
