"""`audit verify` and `audit export`."""

from __future__ import annotations

from pathlib import Path

import click

from annotation.terminal import Invocation, Outcome, command, counted


@click.group(short_help="Check and export the audit trail.")
def audit() -> None:
    """Check and export the audit trail."""


@audit.command("verify")
@click.option("--against", metavar="HEAD", help="A head that an earlier verify printed.")
@command
def audit_verify(invocation: Invocation, against: str | None) -> Outcome:
    """Check that no event was changed, removed, inserted or moved.

    Without --against it cannot see whether the whole chain was written anew, or cut at its end.
    """
    from annotation.audit import verify

    with invocation.store.reading() as session:
        found = verify(session, against=against)
    text = (
        f"{counted(found.events, 'event')}, unbroken. Head: {found.head}"
        if found.ok
        else f"Event {found.first_bad} is bad: {found.problem}. {counted(found.events, 'event')} in all."
    )
    if found.ok and against is None:
        text += (
            "\nA chain that was rewritten whole or cut at its end looks like this too; keep the "
            "head and compare with --against."
        )
    return Outcome(
        found.to_dict(),
        lambda console: console.print(text, markup=False, soft_wrap=True),
        status=0 if found.ok else 1,
    )


@audit.command("export")
@click.option("--to", "target", type=click.Path(path_type=Path), help="A .csv or .jsonl file.")
@command
def audit_export(invocation: Invocation, target: Path | None) -> Outcome:
    """Write the trail as JSON Lines or CSV; to standard output without --to."""
    import msgspec

    from annotation.audit import export_csv, export_lines, verify
    from annotation.paths import replacing

    with invocation.store.reading() as session:
        found = verify(session)
        if target is None:
            events = list(export_lines(session))
        else:
            events = []
            with replacing(target) as temporary:
                if target.suffix.lower() == ".csv":
                    with temporary.open("w", encoding="utf-8", newline="") as stream:
                        export_csv(session, stream)
                else:
                    with temporary.open("wb") as lines:
                        for row in export_lines(session):
                            lines.write(msgspec.json.encode(row, order="sorted") + b"\n")

    def show(console: object) -> None:
        if target is not None:
            click.echo(f"Wrote {counted(found.events, 'event')} to {target}.")
        for row in events:
            click.echo(msgspec.json.encode(row, order="sorted"))

    document = {**found.to_dict(), "file": str(target) if target else None}
    if target is None:
        document["trail"] = events
    return Outcome(document, show)
