"""Packages that come with an extra of this one: imported when needed, named when absent."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from annotation.errors import InputError

__all__ = ["needs"]


def needs(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module
        Its dotted name.
    extra
        The extra of pathquorum that brings it.

    Raises
    ------
    InputError
        It isn't installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise InputError(
            f"{error.name} is not installed; run `pip install 'pathquorum[{extra}]'`",
            package=error.name,
            extra=extra,
        ) from None
