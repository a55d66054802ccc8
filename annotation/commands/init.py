"""`init`."""

from __future__ import annotations

import click

from annotation.terminal import Invocation, Outcome, command


@click.command(short_help="Create the store, or upgrade an older one.")
@command
def init(invocation: Invocation) -> Outcome:
    """Create the store at --store, or bring an older one to the current schema."""
    from annotation.store import create_or_upgrade

    store, revision = create_or_upgrade(invocation.store_url)
    store.close()
    return Outcome(
        {"store": store.url, "revision": revision},
        lambda console: console.print(
            f"The store {store.url} is ready (schema {revision}).", markup=False
        ),
    )
