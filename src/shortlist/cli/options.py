"""Options that several commands share, or that need more than one line to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from shortlist.errors import RequestError

Command = TypeVar("Command", bound=Callable[..., Any])

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def table_options(command: Command) -> Command:
    """Add the files beside the events, and the format of all."""
    for option in (
        click.option("--format", "file_format", help="The files' format where it cannot be seen, such as movielens."),
        click.option("--users", help="A file about the users: features."),
        click.option("--items", help="A file about the items: features, titles."),
    ):
        command = option(command)
    return command


def choice_options(command: Command) -> Command:
    """Add what may be recommended, and how varied."""
    for option in (
        click.option(
            "--cap",
            "caps",
            multiple=True,
            metavar="COLUMN=N",
            help="At most N items of one value; may be given several times.",
        ),
        click.option("--diversity", type=float, help="From 0 to 1: how much an item may not be like those above it."),
        click.option(
            "--where", help="A condition in SQL over the items' columns, such as \"category = 'tea' and price < 20\"."
        ),
    ):
        command = option(command)
    return command


def read_caps(stated: tuple[str, ...]) -> dict[str, int] | None:
    """What ``--cap COLUMN=N`` says; None where it is not given."""
    caps: dict[str, int] = {}
    for text in stated:
        column, _, most = text.rpartition("=")
        if not column or not most.isdecimal():
            raise RequestError(f"--cap takes COLUMN=N, such as category=2; found {text!r}.")
        caps[column] = int(most)
    return caps or None
