"""A small shop as files on disk, and a bundle trained on them with the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shortlist.cli import app
from shortlist.data.synthetic import make_shop


@dataclass(frozen=True)
class Files:
    """Where the shop's files and the bundle are."""

    events: Path
    items: Path
    users: Path
    bundle: Path
    trained: Result


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Run the command line as a user would; a user's mistake is in the result's exception."""
    return _run


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("shop")
    shop = make_shop(users=120, items=160, events=2_400, seed=1)
    events, items, users = folder / "events.csv", folder / "items.parquet", folder / "users.csv"
    shop.events.rename({"user_id": "customer_id", "item_id": "product_id", "timestamp": "ts"}).write_csv(events)
    shop.items.rename({"item_id": "product_id"}).write_parquet(items)
    shop.users.rename({"user_id": "customer_id"}).write_csv(users)
    result = _run("train", events, "--items", items, "--users", users, "--retriever", "two_tower", "--ranker", "neumf",
                 "--set", "training.epochs=3", "--set", "retriever.embedding_dim=16", "--out", folder / "shop.bundle")  # fmt: skip
    assert result.exception is None, result.output
    return Files(events, items, users, folder / "shop.bundle", result)
