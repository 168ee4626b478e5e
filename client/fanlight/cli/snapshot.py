"""`fanlight snapshot` and `fanlight restore`: backups, and moves to another number of shards."""

from __future__ import annotations

from typing import Any

import click

from fanlight.cli.bars import reported
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import info_as_json, out, show_json
from fanlight.snapshots import Manifest, Snapshot, verified
from fanlight.snapshots.places import place_of


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("dest")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def snapshot(name: str, dest: str, as_json: bool) -> None:
    """Write a snapshot of a collection while it is used.

    DEST is a directory, empty or not there yet, or the URL of a place in an object store
    (s3://bucket/path, gs://bucket/path, az://container/path). Each shard's items are of one
    moment; writes go on. Until it is whole, DEST has no manifest.json. Exit status 1: it could
    not be made, and what was written is removed.

    \b
    Examples:
      fanlight snapshot movies backups/movies-2026-11-29
      fanlight snapshot movies s3://backups/movies/2026-11-29 --json
    """
    with connect() as client, reported(name) as progress:
        taken = client.collection(name).snapshot(dest, progress=progress)
    if as_json:
        show_json(_as_json(taken))
        return
    manifest = taken.manifest
    again = f"; shards were read again {taken.repeats} times" if taken.repeats else ""
    out.print(
        f"{name}: {manifest.items:,} items of {len(manifest.shards)} shards, "
        f"{manifest.bytes / 1e6:,.1f} MB, in {taken.place}{again}.",
        markup=False,
    )


def _as_json(taken: Snapshot) -> dict[str, Any]:
    return {"place": taken.place, "repeats": taken.repeats} | _manifest_as_json(taken.manifest)


def _manifest_as_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "collection": manifest.spec.name,
        "created": manifest.created,
        "items": manifest.items,
        "bytes": manifest.bytes,
        "files": len(manifest.files),
        "shards": {
            str(shard.index): {"seq": shard.seq, "items": shard.items} for shard in manifest.shards
        },
    }


@click.command()
@address_option
@click.argument("src")
@click.option("--as", "name", metavar="NAME", help="Name of the new collection. Default: its old.")
@click.option("--check", is_flag=True, help="Compare the checksums only; needs no cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restore(src: str, name: str | None, check: bool, as_json: bool) -> None:
    """Make a collection from a snapshot, on any number of shards.

    SRC is what `fanlight snapshot` wrote. All checksums are compared before anything is created;
    a damaged, partial or newer snapshot is refused whole. While it is filled the collection
    refuses reads. It must not exist yet.

    \b
    Examples:
      fanlight restore backups/movies-2026-11-29
      fanlight restore s3://backups/movies/2026-11-29 --as movies-restored
      fanlight restore backups/movies-2026-11-29 --check
    """
    if check:
        manifest = verified(place_of(src))
        if as_json:
            show_json({"place": src} | _manifest_as_json(manifest))
        else:
            whole = f"{manifest.items:,} items of {manifest.spec.name}, taken {manifest.created}"
            out.print(f"{src} is whole: {whole}.", markup=False)
        return
    with connect() as client, reported(name or src) as progress:
        info = client.restore(src, name=name, progress=progress).info()
    if as_json:
        show_json(info_as_json(info))
    else:
        out.print(f"{info.spec.name}: {info.items:,} items restored from {src}.", markup=False)
