"""Where tests find real data and golden vectors (not part of the project), and a small data set to test with."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from shortlist.data import Dataset, read_dataset

ROOT = Path(__file__).resolve().parents[1]
USERS, ITEMS, EVENTS = 12, 20, 150


def _folder(variable: str, name: str) -> Path:
    """The folder that ``variable`` names, else ``../shared/name``; absent, the test is skipped, or fails if it was named."""
    named = os.environ.get(variable)
    folder = Path(named) if named else ROOT.parent / "shared" / name
    if not folder.is_dir():
        reason = f"{folder} is not there; set {variable} to the folder with the {name} files"
        if named:
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets with published figures."""
    return _folder("SHORTLIST_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers computed by the authors' implementations."""
    return _folder("SHORTLIST_GOLDEN", "golden")


def _events() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    users = np.concatenate([np.arange(USERS), generator.integers(0, USERS, EVENTS - USERS)])
    items = np.concatenate([np.arange(ITEMS), generator.integers(0, ITEMS, EVENTS - ITEMS)])
    return pl.DataFrame(
        {
            "user_id": [f"u{user:02d}" for user in users],
            "item_id": items + 1,
            "rating": generator.integers(1, 6, EVENTS),
            "timestamp": 1_000_000 + np.arange(EVENTS) * 3_600,
        }
    )


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """12 users, 20 items, 150 events, ratings, times; two item features, one multi-hot, two user features."""
    item_table = pl.DataFrame(
        {
            "item_id": np.arange(ITEMS) + 1,
            "category": [("tea", "cup", "pot")[item % 3] for item in range(ITEMS)],
            "tags": ["|".join(("red", "blue", "green")[: item % 3 + 1]) for item in range(ITEMS)],
            "price": [None if item % 7 == 0 else float(item) + 0.5 for item in range(ITEMS)],
        }
    )
    user_table = pl.DataFrame(
        {
            "user_id": [f"u{user:02d}" for user in range(USERS)],
            "country": [("FR", "DE")[user % 2] for user in range(USERS)],
            "age": [20.5 + user for user in range(USERS)],
        }
    )
    features = [
        {"name": "category", "kind": "categorical", "owner": "item"},
        {"name": "tags", "kind": "multi", "owner": "item", "separator": "|"},
        {"name": "price", "kind": "numeric", "owner": "item"},
        {"name": "country", "kind": "categorical", "owner": "user"},
        {"name": "age", "kind": "numeric", "owner": "user"},
    ]
    return read_dataset(_events(), items=item_table, users=user_table, schema={"features": features})


@pytest.fixture(scope="session")
def rich_dataset() -> Dataset:
    """The same events, with a text, a vector and a picture of each item (but for one), and of each event."""
    generator = np.random.default_rng(1)
    colours = generator.integers(0, 256, (ITEMS, 3), dtype=np.uint8)
    items = pl.DataFrame(
        {
            "item_id": np.arange(ITEMS) + 1,
            "category": [("tea", "cup", "pot")[item % 3] for item in range(ITEMS)],
            "note": [
                None if item == 4 else f"a {('red', 'blue')[item % 2]} thing of {item} parts" for item in range(ITEMS)
            ],
            "vector": [None if item == 5 else [float(item), item % 2 - 0.5, 1.0] for item in range(ITEMS)],
            "photo": [None if item == 6 else picture(tuple(colours[item])) for item in range(ITEMS)],
        },
        schema_overrides={"photo": pl.Binary},
    )
    events = (
        _events()
        .drop("rating")
        .with_columns(
            said=pl.Series([f"words number {place % 9} of the visit" for place in range(EVENTS)]),
            shot=pl.Series([picture((place % 256, 0, 90)) for place in range(EVENTS)]),
            mood=pl.Series([[place % 3 - 1.0, 0.5] for place in range(EVENTS)]),
        )
    )
    kinds = {"said": "text", "shot": "image", "mood": "vector"}
    features: list[dict[str, Any]] = [{"name": name, "kind": kind, "owner": "context"} for name, kind in kinds.items()]
    features[1]["size"] = 8
    features += [{"name": "note", "kind": "text", "owner": "item", "dim": 4}]
    features += [{"name": "photo", "kind": "image", "owner": "item", "size": 8}]
    return read_dataset(events, items=items, schema={"features": features})


def picture(colour: tuple[int, ...], *, side: int = 12) -> bytes:
    """The bytes of a PNG file of one colour."""
    content = io.BytesIO()
    Image.new("RGB", (side, side), tuple(int(part) for part in colour)).save(content, "png")
    return content.getvalue()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So little work as in tests of indexes is done fastest by one thread, above all on a busy machine."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


# Where there is such a program, a server does not outlive tests that are killed.
_ENDING_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


class RedisServer:
    """A Redis or Valkey server on a port and in a folder of its own, durable, which can be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *settings: str) -> None:
        usual = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.folder))
        place = ("--port", str(self.port), "--bind", "127.0.0.1")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_ENDING_WITH_US, self.program, *place, *usual, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            if how in (signal.SIGKILL, signal.SIGTERM):
                self.process.wait(timeout=20)
                self.process = None


@pytest.fixture(scope="session")
def make_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RedisServer]]:
    """Makes Redis servers, not started yet, that end with the tests; skips where there is no such program."""
    pytest.importorskip("redis", reason="comes with the extra 'redis'")
    programs = [found for name in ("redis-server", "valkey-server") if (found := shutil.which(name)) is not None]
    if not programs:
        pytest.skip("there is no redis-server or valkey-server on PATH; Debian's package is redis-server")
    made: list[RedisServer] = []

    def make() -> RedisServer:
        made.append(RedisServer(programs[0], tmp_path_factory.mktemp("redis")))
        return made[-1]

    yield make
    for server in made:
        server.end()
