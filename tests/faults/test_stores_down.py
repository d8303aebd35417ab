"""A store that is full, locked, gone or damaged: answers go on, what was acknowledged is kept, and it mends by itself."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Client, Service, running
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.recommender import Recommender
from shortlist.service import ServiceSettings
from shortlist.service.app import create_app
from shortlist.service.state.sqlite import SQLiteState

ASKED = {"user_id": "u0001"}


@pytest.fixture
def own(bundles: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Service, Client]]:
    """A service to do harm to, and a connection."""
    with running(bundles[0], tmp_path) as service, contextlib.closing(Client(service.port)) as client:
        yield service, client
        assert service.exit_code is None
        assert service.failures() == []


def post(client: Client, name: str, *, user: str = "ann", item: str = "i0003") -> tuple[int, Any]:
    return client.post("/events", {"events": [{"user_id": user, "item_id": item, "event_id": name}]})


def answered(client: Client, user: str = "u0001") -> Any:
    status, answer = client.post("/recommend", {"user_id": user})
    assert status == 200, answer
    assert len(answer["items"]) == 10
    return answer


def degraded(client: Client, user: str = "u0001") -> list[str]:
    found: list[str] = answered(client, user).get("degraded", [])
    return found


def test_a_full_disk_is_told_and_answers_go_on(own: tuple[Service, Client], tmp_path: Path) -> None:
    service, client = own
    stored = []
    for times in range(3):
        service.limit(resource.RLIMIT_FSIZE, 300_000)
        number, refused = 0, 0
        while refused < 5:
            name = f"{times}.{number}"
            status, answer = post(client, name, item="x" * 400)
            if status == 200:
                stored.append(name)
            else:
                assert (status, "no room" in answer["error"]) == (507, True), answer
                refused += 1
                assert degraded(client) == []
                assert degraded(client, "ann") == []
            number += 1
            assert number < 5_000
        service.limit(resource.RLIMIT_FSIZE, -1)
        assert post(client, f"after {times}")[0] == 200
        stored.append(f"after {times}")
    state = SQLiteState(tmp_path / "state.db")
    assert [event.event_id for event in state.recent_events("ann", limit=1_000)] == stored[-1_000:]
    state.close()


def test_what_is_to_be_served_cannot_be_noted_on_a_full_disk_and_is_not_served(
    own: tuple[Service, Client], bundles: tuple[Path, Path]
) -> None:
    service, client = own
    before = answered(client)["versions"]
    service.limit(resource.RLIMIT_FSIZE, 0)
    status, answer = client.post("/admin/reload", {"bundle": str(bundles[1])})
    assert (status, "cannot be written" in answer["error"]) == (507, True), answer
    assert answered(client)["versions"] == before
    service.limit(resource.RLIMIT_FSIZE, -1)
    assert client.post("/admin/reload", {"bundle": str(bundles[1])})[0] == 200
    assert answered(client)["versions"] != before


def test_a_locked_store_takes_no_events_and_answers_go_on(own: tuple[Service, Client], tmp_path: Path) -> None:
    _, client = own
    assert post(client, "before")[0] == 200
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        status, answer = post(client, "meanwhile")
        assert (status, "locked" in answer["error"]) == (503, True), answer
        assert degraded(client, "ann") == []
        other.execute("ROLLBACK")
    assert post(client, "meanwhile")[1]["stored"] == 1


def test_a_store_that_is_gone_takes_no_events_until_it_is_back(own: tuple[Service, Client], tmp_path: Path) -> None:
    _, client = own
    assert post(client, "before")[0] == 200
    (tmp_path / "state.db").rename(tmp_path / "away")
    status, answer = post(client, "meanwhile")
    assert (status, "No such file" in answer["error"]) == (503, True), answer
    answered(client, "ann")
    (tmp_path / "away").rename(tmp_path / "state.db")
    assert post(client, "meanwhile")[1]["stored"] == 1
    assert degraded(client, "ann") == []


def test_a_damaged_store_is_told_and_answers_go_on_without_it(own: tuple[Service, Client], tmp_path: Path) -> None:
    _, client = own
    for number in range(300):
        post(client, str(number), user=f"v{number}")
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "state.db"
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    with path.open("r+b") as file:
        file.write(content)
    assert "recent events" in degraded(client, "v7")
    status, answer = post(client, "new")
    assert (status, "damaged" in answer["error"]) == (503, True), answer
    assert client.ask("GET", "/health/ready")[0] == 200


def test_without_redis_answers_have_no_recent_events_and_say_so(
    bundles: tuple[Path, Path], tmp_path: Path, make_redis: Callable[[], Any]
) -> None:
    server = make_redis()
    with (
        running(bundles[0], tmp_path, "--state", server.url) as service,  # before there is one
        contextlib.closing(Client(service.port)) as client,
    ):
        assert degraded(client) == ["recent events"]
        assert post(client, "early")[0] == 503
        for this_round in range(2):
            server.start()
            back_in_time(client)
            assert post(client, f"{this_round}", user="bob")[1]["stored"] == 1
            assert answered(client, "bob")["source"] == "session"
            server.end()
            assert degraded(client, "bob") == ["recent events"]
            status, answer = post(client, "lost")
            assert (status, "cannot be reached" in answer["error"]) == (503, True), answer
        server.start()
        back_in_time(client)
        assert answered(client, "bob")["source"] == "session"
        assert service.failures() == []


def back_in_time(client: Client) -> None:
    """Wait until the store is read again: some seconds at most."""
    until = time.monotonic() + 10
    while degraded(client):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_events_after_the_clock_was_put_back_are_the_latest(
    recommender: Recommender, bundles: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model looks at the last 10 events: were the newer ones taken for older, it would not see them."""
    items = [f"i{number:04d}" for number in range(1, 25)]
    settings = ServiceSettings(bundle=bundles[0], folder=tmp_path)
    now = 2e9
    monkeypatch.setattr("shortlist.service.recent.time.time", lambda: now)
    for part, moment in ((items[:12], 2e9), (items[12:], 1.9e9)):  # by another process, which knows no later time
        now = moment
        with TestClient(create_app(settings)) as client:
            for item in part:
                now += 1
                assert (
                    client.post("/events", json={"events": [{"user_id": "ann", "item_id": item}]}).json()["stored"] == 1
                )
            answer = client.post("/recommend", json={"user_id": "ann", "events": [{"item_id": "i0030"}]}).json()
    schema = recommender.dataset.schema
    events = [{schema.item_column: item, "timestamp": 2e9 + place} for place, item in enumerate([*items, "i0030"])]
    wanted = sl.load(bundles[0]).recommend(events=events)["item_id"].to_list()
    assert [item["item_id"] for item in answer["items"]] == wanted
    now = 0.0
    with TestClient(create_app(settings)) as client:
        ages = client.get("/health/ready").json()["ages_s"]
        assert min(ages.values()) >= 0
