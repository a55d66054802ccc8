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
        It isn't installed, or what it needs isn't or doesn't fit.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:
        package = module.split(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "is not installed" if absent else f"can't be imported ({error})"
        raise InputError(
            f"{package} {reason}; run `pip install 'pathquorum[{extra}]'`",
            package=package,
            extra=extra,
        ) from (None if absent else error)
