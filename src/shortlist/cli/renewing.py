"""The verb that renews a bundle without training."""

from __future__ import annotations

from pathlib import Path

import click

from shortlist.cli.options import as_json_option
from shortlist.cli.printing import print_json


@click.command()
@click.argument("bundle")
@click.option("--items", help="A file of new or changed items, with the columns that the items had.")
@click.option("--remove", multiple=True, metavar="ID", help="An item to answer no more; may be given several times.")
@click.option("--format", "file_format", help="The file's format where it cannot be seen, such as movielens.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write.  [default: in the place of BUNDLE]")
@as_json_option
def refresh(
    bundle: str, items: str | None, remove: tuple[str, ...], file_format: str | None, out: Path | None, as_json: bool
) -> None:
    """Make new or changed items of BUNDLE retrievable, and withdraw others, without training."""
    from shortlist.renewing import refresh_bundle

    known = refresh_bundle(bundle, items, remove=remove, format=file_format, out=out)
    offered = known.dataset.num_items if known.funnel.offered is None else int(known.funnel.offered[1:].sum())
    notes = list(known.dataset.notes[-((items is not None) + bool(remove)) :])
    if as_json:
        print_json({"bundle": str(out or bundle), "notes": notes, "items": known.dataset.num_items, "offered": offered})
        return
    click.echo(
        "\n".join([*notes, f"{offered:,} of {known.dataset.num_items:,} items are offered. Wrote {out or bundle}"])
    )
