"""`doctor`."""

from __future__ import annotations

import click

from annotation.terminal import Invocation, Outcome, command, table


@click.command(short_help="What is found here, and what is missing.")
@command
def doctor(invocation: Invocation) -> Outcome:
    """Say what is found on this machine, and what each missing piece costs.

    Only what nothing works without makes the exit status 1.
    """
    from annotation.doctor import examine

    checks = examine(invocation.store_url)
    ok = all(check.found for check in checks if check.required)
    rows: list[list[object]] = [
        [c.what, "yes" if c.found else "no", c.version, c.detail, c.costs] for c in checks
    ]
    return Outcome(
        {"checks": [check.to_dict() for check in checks], "ok": ok},
        lambda console: console.print(
            table(None, "what", "found", "version", "detail", "what its lack costs", rows=rows)
        ),
        status=0 if ok else 1,
    )
