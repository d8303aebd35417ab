"""Events and changes of items over HTTP: durable, once, and in the next answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from shortlist.service import ServiceSettings
from shortlist.service.app import create_app


@pytest.fixture
def settings(shop_files: Any, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(bundle=shop_files.bundle, folder=tmp_path / "service", poll_s=0.02)


@pytest.fixture
def client(settings: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


def _new(client: TestClient, **changed: Any) -> dict[str, Any]:
    """A row with all columns that the items have, like the first item's."""
    desk = client.app.state.desk  # type: ignore[attr-defined]
    row: dict[str, Any] = desk.serving.recommender.dataset.item_table.frame.row(0, named=True)
    return {**row, "product_id": "new 1"} | changed


def _wait(client: TestClient, revision: int) -> None:
    until = time.monotonic() + 1
    while not client.get("/health/ready").json()["versions"]["index"].endswith(f".{revision}"):
        assert time.monotonic() < until, "a change was not known within a second"
        time.sleep(0.01)


def _ids(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_the_next_answer_knows_a_stored_event(client: TestClient) -> None:
    body = {"user_id": "somebody new", "k": 20}
    before = client.post("/recommend", json=body).json()
    item = before["items"][0]["item_id"]
    stored = client.post("/events", json={"events": [{"user_id": "somebody new", "item_id": item}]})
    assert stored.json()["stored"] == 1
    after = client.post("/recommend", json=body).json()
    assert before["source"] in ("features", "popularity")
    assert after["source"] == "session"
    assert item not in [each["item_id"] for each in after["items"]]


def test_an_event_sent_again_is_stored_once(client: TestClient) -> None:
    event = {"user_id": "u", "item_id": "i", "event_id": "e1", "timestamp": 5}
    first = client.post("/events", json={"events": [event, event | {"event_id": "e2"}]}).json()
    again = client.post("/events", json={"events": [event, event | {"event_id": "e3"}]}).json()
    assert first == {"stored": 2, "duplicates": 0, "event_ids": ["e1", "e2"]}
    assert again == {"stored": 1, "duplicates": 1, "event_ids": ["e1", "e3"]}


def test_events_that_the_bundle_knows_do_not_count_twice(client: TestClient) -> None:
    dataset = client.app.state.desk.serving.recommender.dataset  # type: ignore[attr-defined]
    user = dataset.encoders.users.decode([1])[0]
    first, last = dataset.events.offsets[1:3].tolist()
    pairs = zip(dataset.events.items[first:last].tolist(), dataset.events.times[first:last].tolist(), strict=True)
    known = [
        {"user_id": user, "item_id": dataset.encoders.items.decode([item])[0], "timestamp": moment}
        for item, moment in pairs
    ]
    body = {"user_id": user, "k": 20, "exclude_seen": False}
    before = client.post("/recommend", json=body).json()
    assert client.post("/events", json={"events": known}).json()["stored"] == len(known)
    assert client.post("/recommend", json=body).json()["items"] == before["items"]


def test_events_survive_a_restart(settings: ServiceSettings) -> None:
    body = {"user_id": "somebody new", "k": 20}
    with TestClient(create_app(settings)) as client:
        item = client.post("/recommend", json=body).json()["items"][0]["item_id"]
        client.post("/events", json={"events": [{"user_id": "somebody new", "item_id": item}]})
        wanted = client.post("/recommend", json=body).json()["items"]
    with TestClient(create_app(settings)) as client:
        assert client.post("/recommend", json=body).json()["items"] == wanted


def test_a_new_item_is_found_and_a_withdrawn_one_is_gone_also_after_a_restart(settings: ServiceSettings) -> None:
    asked = {"items": ["new 1"], "user_id": "u"}
    with TestClient(create_app(settings)) as client:
        assert _ids(client.post("/recommend", json=asked)) == []
        answer = client.put("/items", json={"items": [_new(client, title="Brand new")]})
        assert answer.json() == {"revision": 1}
        _wait(client, 1)
        found = client.post("/recommend", json=asked).json()["items"]
        assert [(each["item_id"], each["title"]) for each in found] == [("new 1", "Brand new")]
        gone = client.post("/recommend", json={"user_id": "u"}).json()["items"][0]["item_id"]
        assert client.delete(f"/items/{gone}").json() == {"revision": 2}
        _wait(client, 2)
        everything = {"user_id": "u", "k": 200}
        left = _ids(client.post("/recommend", json=everything))
        assert gone not in left
        assert len(left) == 160
    with TestClient(create_app(settings)) as client:
        assert _ids(client.post("/recommend", json=everything)) == left
        client.put("/items", json={"items": [_new(client, product_id=gone)]})
        _wait(client, 3)
        assert gone in _ids(client.post("/recommend", json=everything))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"product_id": None}, "product_id"),
        ({"product_id": True}, "product_id"),
        ({"price": "dear"}, "price"),
    ],
)
def test_rows_that_could_not_be_used_are_refused_and_nothing_is_stored(
    client: TestClient, changed: dict[str, Any], words: str
) -> None:
    answer = client.put("/items", json={"items": [_new(client, product_id="fine"), _new(client, **changed)]})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert client.app.state.desk.state.revision() == 0  # type: ignore[attr-defined]


def test_a_row_without_a_column_is_told_which(client: TestClient) -> None:
    row = _new(client)
    del row["price"]
    assert "price" in client.put("/items", json={"items": [row]}).json()["error"]


def test_an_item_that_is_not_there_cannot_be_withdrawn(client: TestClient) -> None:
    assert client.delete("/items/nothing").status_code == 404


def test_similar_items_and_ranking(client: TestClient) -> None:
    recommender = client.app.state.desk.serving.recommender  # type: ignore[attr-defined]
    item = recommender.dataset.encoders.items.decode([7])[0]
    wanted = recommender.similar_items(item, k=5)
    answer = client.get(f"/items/{item}/similar?k=5").json()
    assert [each["item_id"] for each in answer["items"]] == wanted["item_id"].to_list()
    assert item not in wanted["item_id"].to_list()
    assert client.get("/items/nothing/similar").status_code == 404
    assert client.get(f"/items/{item}/similar?k=0").status_code == 400
    some = recommender.dataset.encoders.items.decode([3, 1, 8, 5]).tolist()
    user = recommender.known_users()[0]
    ranked = client.post("/rank", json={"user_id": user, "items": [*some, "unknown"]}).json()
    assert sorted(each["item_id"] for each in ranked["items"]) == sorted(some)
    assert ranked["unknown_items"] == ["unknown"]
    best = recommender.recommend([user], items=some, k=4, exclude_seen=False)
    assert [each["item_id"] for each in ranked["items"]] == best["item_id"].to_list()


def test_figures_and_the_specification(client: TestClient) -> None:
    client.post("/recommend", json={"user_id": "nobody"})
    text = client.get("/metrics").text
    assert 'shortlist_requests_total{route="/recommend",status="200"}' in text
    assert 'shortlist_stage_seconds_count{stage="search"}' in text
    assert 'shortlist_age_seconds{of="model"}' in text
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) >= {"/recommend", "/events", "/items", "/rank", "/metrics"}
    named = document["components"]["schemas"]
    assert set(named["RecommendRequest"]["properties"]) >= {"user_id", "events", "where", "k"}
