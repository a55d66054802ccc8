"""Days on the command line."""

from __future__ import annotations

from datetime import date, datetime

import click

__all__ = ["DATE", "as_date"]

DATE = click.DateTime(formats=["%Y-%m-%d"])


def as_date(value: datetime | None) -> date | None:
    """The day that click read."""
    return value.date() if value else None
