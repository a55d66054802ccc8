"""Structured logs on standard error: quiet for people, one JSON object a line with --log-json."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

__all__ = ["configured", "log"]

log = structlog.stdlib.get_logger("pathquorum")


@contextmanager
def configured(*, as_json: bool) -> Iterator[None]:
    """Send logs to standard error: JSON lines from INFO up, else plain text from WARNING up.

    Afterwards they go where they went before: a command may run others.
    """
    before = structlog.get_config()
    structlog.configure(**_configuration(as_json=as_json))
    try:
        yield
    finally:
        structlog.configure(**before)


def _configuration(*, as_json: bool) -> dict[str, Any]:
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    return {
        "processors": [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            renderer,
        ],
        "wrapper_class": structlog.make_filtering_bound_logger(
            logging.INFO if as_json else logging.WARNING
        ),
        # Standard error as it is when something is logged, not when this is said.
        "logger_factory": lambda *_: structlog.PrintLogger(sys.stderr),
        "cache_logger_on_first_use": False,
    }


# From Python nothing is said before a command runs; an application's own configuration stands.
if not structlog.is_configured():
    structlog.configure(**_configuration(as_json=False))
