"""The verb that writes a bundle's networks for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from shortlist.cli.options import as_json_option
from shortlist.cli.printing import print_json


@click.command()
@click.argument("bundle")
@click.option(
    "--onnx",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder to write graphs of ONNX into.",
)
@as_json_option
def export(bundle: str, onnx: Path, as_json: bool) -> None:
    """Write each tower and ranker of BUNDLE as a graph of ONNX, compared with PyTorch, and what its numbers mean."""
    from shortlist.exporting import export_bundle

    exported = export_bundle(bundle, onnx=onnx)
    if as_json:
        print_json({"folder": str(exported.folder), **exported.description})
    else:
        click.echo(str(exported))
