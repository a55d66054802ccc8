"""Structured logs on standard error: quiet for people, one JSON object a line with --log-json."""

from __future__ import annotations

import logging
import sys

import structlog

__all__ = ["configure", "log"]

log = structlog.stdlib.get_logger("pathquorum")


def configure(*, as_json: bool) -> None:
    """Send logs to standard error: JSON lines from INFO up, else plain text from WARNING up."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.INFO if as_json else logging.WARNING
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
