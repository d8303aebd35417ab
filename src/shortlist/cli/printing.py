"""Results to a terminal: JSON for machines, tables for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl


def print_json(values: Any) -> None:
    """One line of JSON."""
    click.echo(json.dumps(values, ensure_ascii=False, default=str))


def print_frame(frame: pl.DataFrame) -> None:
    """A table with its numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, kind in frame.schema.items():
        table.add_column(name, justify="right" if kind.is_numeric() else "left")
    for row in frame.iter_rows():
        table.add_row(
            *("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row)
        )
    Console().print(table)
