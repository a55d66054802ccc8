"""`release create`, `show`, `list` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.group(short_help="Freeze a training set.")
def release() -> None:
    """Freeze a training set: a consensus run with its decisions, split by patient."""


@release.command("create")
@click.argument("name")
@click.option("--run", required=True, type=int, help="The consensus run to freeze.")
@click.option(
    "--split",
    metavar="PART=SHARE,...",
    help="Shares of the patients; default: the last release's, at first "
    "train=0.6,val=0.15,calibration=0.1,test=0.15.",
)
@click.option("--seed", type=int, help="Decides who goes where; default: the last release's, or 0.")
@click.option("--by", metavar="HANDLE", help="Who releases it; with --key its owner.")
@signing_options
@command
def release_create(
    invocation: Invocation,
    name: str,
    run: int,
    split: str | None,
    seed: int | None,
    by: str | None,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Freeze a run and the decisions in force as the release NAME.

    Patients who have a part of the split from an earlier release keep it. The manifest's SHA-256
    is the same whenever a release is made of the same run and decisions; --key signs it.
    """
    from annotation.lookup import find_annotator
    from consensus.release import create_release, release_document
    from consensus.releases.split import parse_shares

    shares = None if split is None else parse_shares(split)
    key = unlocked(key_file, passphrase_file)
    with invocation.store.writing() as session:
        made = create_release(
            session,
            name,
            run,
            shares=shares,
            seed=seed,
            by=None if by is None else find_annotator(session, by),
            key=key,
        )
        document = {**release_document(made), "signed": key is not None}
    return Outcome(document, lambda console: _show(console, document))


@release.command("show")
@click.argument("name")
@command
def release_show(invocation: Invocation, name: str) -> Outcome:
    """Show what the release NAME holds, and whether the store still gives the same."""
    from consensus.release import open_release, release_document

    with invocation.store.reading() as session:
        document = release_document(open_release(session, name))
    return Outcome(document, lambda console: _show(console, document))


@release.command("list")
@command
def release_list(invocation: Invocation) -> Outcome:
    """List the releases."""
    import msgspec

    from consensus.release import list_releases

    with invocation.store.reading() as session:
        rows = [
            {
                "release": row.name,
                "run": row.run_id,
                "manifest_sha256": row.manifest_sha256,
                "slides": totals["slides"],
                "items": totals["items"],
                "at": row.at,
            }
            for row in list_releases(session)
            for totals in (msgspec.json.decode(row.manifest)["totals"],)
        ]
    return Outcome(
        {"releases": rows},
        lambda console: console.print(
            table(
                None,
                "release",
                "run",
                "slides",
                "items",
                "at (UTC)",
                "sha256",
                rows=[
                    [
                        r["release"],
                        r["run"],
                        r["slides"],
                        r["items"],
                        f"{r['at']:%Y-%m-%d %H:%M}",
                        r["manifest_sha256"][:12],
                    ]
                    for r in rows
                ],
            )
        ),
    )


@release.command("export")
@click.argument("name")
@click.option(
    "--format",
    "output_format",
    required=True,
    type=click.Choice(["geojson", "masks", "regions", "coco", "parquet", "nnunet"]),
    help="Items with all that is known of them, PNG tiles of class indices, clean class regions, "
    "COCO instances, one table, or a dataset of nnU-Net v2.",
)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new or empty folder.",
)
@click.option(
    "--tile-px",
    type=int,
    help="Side of tiles; default: 512 for masks and nnunet. COCO's images are whole slides without it.",
)
@click.option(
    "--mpp",
    type=float,
    help="Microns per pixel of masks and images; default: each slide's own. nnunet needs it.",
)
@click.option(
    "--dataset-id",
    type=int,
    default=500,
    show_default=True,
    help="nnunet: the number in DatasetXXX_Name.",
)
@command
def release_export(
    invocation: Invocation,
    name: str,
    output_format: str,
    folder: Path,
    tile_px: int | None,
    mpp: float | None,
    dataset_id: int,
) -> Outcome:
    """Write the release NAME into a folder: manifest, split, a table of the items, and outlines.

    In masks a pixel's value is its class's index, 255 outside the domain and 254 where there is no
    label; a sidecar beside the tiles says where they lie. Regions are dissolved by class, and
    slivers below the protocol's least area go to the neighbour with the longest border:
    regions.json says how much moved. Items and masks keep what was agreed and decided.

    coco writes a file of instances for each part of the split; what bears no class is a crowd of
    each class that it may be, and what is background or absent is listed as negatives. With
    --tile-px the images are tiles that hold an item, written beside. parquet (extra `parquet`) is
    one row an item with WKB outlines. nnunet writes tiles that hold a label, with `ignore` for what
    is open or outside the domain, and splits_final.json, which keeps patients apart: copy that into
    nnUNet_preprocessed/DatasetXXX_Name.
    """
    from consensus.release import open_release, release_document
    from consensus.releases.export import export_release

    with invocation.store.reading() as session:
        opened = open_release(session, name)
        files = export_release(
            session,
            opened,
            output_format,
            folder,
            tile_px=tile_px,
            mpp=mpp,
            dataset_id=dataset_id,
        )
        document = {
            **release_document(opened),
            "format": output_format,
            "to": str(folder),
            "files": files,
        }

    def show(console: Console) -> None:
        outlines = (
            "; slides that are labelled as a whole have no outlines, items.csv holds their labels"
            if opened.consensus.protocol.task == "slides"
            else ""
        )
        console.print(
            f"Release {name}: {counted(len(files), 'file')} in {folder}{outlines}.",
            markup=False,
            soft_wrap=True,
        )

    return Outcome(document, show)


def _show(console: Console, release: dict[str, Any]) -> None:
    console.print(
        f"Release {release['release']}: run {release['run']} ({release['method']}, "
        f"{release['protocol']}), {counted(release['items'], 'item')} on {counted(release['slides'], 'slide')}, "
        f"{counted(release['decisions'], 'decision')}.",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"sha256 {release['manifest_sha256']}", markup=False, soft_wrap=True)
    shares = release["shares"]
    console.print(
        table(
            None,
            "part",
            "share",
            "patients",
            "slides",
            rows=[
                [part, shares.get(part, 0.0), count["patients"], count["slides"]]
                for part, count in release["split"].items()
            ],
        )
    )
    unit, scale = ("mm2", 1e6) if release["weight_unit"] == "um2" else ("weight", 1.0)
    rows: list[list[object]] = [
        [label, entry["items"], entry["weight"] / scale]
        for label, entry in release["labelled"].items()
    ]
    rows += [
        [f"({state})", entry["items"], entry["weight"] / scale]
        for state, entry in release["unlabelled"].items()
    ]
    console.print(table(None, "class", "items", unit, rows=rows))
    for read in release["excluded_reads"]:
        console.print(
            f"Left out: {read['annotator']} on {read['slide']}: {read['reason']}.",
            markup=False,
            soft_wrap=True,
        )
    for note in release["notes"]:
        console.print(f"Note: {note}.", markup=False, soft_wrap=True)
    if not release["matches_store"]:
        console.print(
            f"It no longer matches the store: {release['difference']}.",
            markup=False,
            soft_wrap=True,
        )
