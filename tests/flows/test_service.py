"""HTTP answers equal the recommender's own, and bad requests are told what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.recommender import Recommender
from shortlist.service import ServiceSettings
from shortlist.service.app import create_app


@pytest.fixture(scope="module")
def recommender(shop_files: Any) -> Recommender:
    return sl.load(shop_files.bundle)


@pytest.fixture(scope="module")
def client(shop_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServiceSettings(bundle=shop_files.bundle, folder=tmp_path_factory.mktemp("service"), poll_s=0.02)
    with TestClient(create_app(settings)) as client:
        yield client


def test_health(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready").json()
    assert ready["items"] == 160
    assert ready["versions"]["index"] == f"{ready['versions']['model']}.0"


def _requests(recommender: Recommender) -> list[dict[str, Any]]:
    users, items = recommender.known_users(), recommender.dataset.encoders.items.ids.tolist()
    return [
        {"user_id": users[0]},
        {"user_id": users[1], "k": 25, "exclude_seen": False},
        {"user_id": users[2], "items": items[10:40], "exclude": items[12:14]},
        {"user_id": users[3], "events": [{"item_id": items[5]}, {"item_id": items[6]}]},
        {"events": [{"item_id": items[7], "timestamp": 1_900_000_000}]},
        {"user_id": users[5], "candidates": 5},
        {"user_id": users[4], "where": "price > 5", "diversity": 0.3, "caps": {"category": 2}},
        {"user_id": "never seen"},
        {"events": [{"item_id": "no such item"}]},
    ]


def test_http_answers_equal_recommend(client: TestClient, recommender: Recommender) -> None:
    schema = recommender.dataset.schema
    for body in _requests(recommender):
        answer = client.post("/recommend", json=body)
        assert answer.status_code == 200, answer.text
        events = [
            {schema.item_id: event["item_id"], schema.sequence_id: body.get("user_id")}
            | ({schema.timestamp: event["timestamp"]} if "timestamp" in event else {})
            for event in body.get("events", [])
        ]
        arguments = {name: value for name, value in body.items() if name not in ("user_id", "events")}
        (wanted,) = recommender.answers([body.get("user_id")], events=events or None, **arguments)
        items = recommender.dataset.encoders.items.decode(wanted.stages.ranked.items[0].numpy()).tolist()
        assert [item["item_id"] for item in answer.json()["items"]] == items
        assert [item["score"] for item in answer.json()["items"]] == pytest.approx(
            wanted.stages.ranked.scores[0].tolist(), rel=1e-4, abs=1e-4
        )  # the service may compute in ONNX Runtime
        assert answer.json()["source"] == wanted.sources[0]


def test_the_source_says_what_an_answer_was_made_from(client: TestClient, recommender: Recommender) -> None:
    bodies = _requests(recommender)
    sources = [client.post("/recommend", json=body).json()["source"] for body in bodies]
    assert sources[0] == sources[3] == "model"
    assert sources[4] == "session"
    assert sources[7] in ("features", "popularity")


def test_unknown_items_are_reported(client: TestClient) -> None:
    body = {"events": [{"item_id": "no such item"}]}
    assert client.post("/recommend", json=body).json()["unknown_items"] == ["no such item"]


def test_fresh_events_change_the_answer(client: TestClient, recommender: Recommender) -> None:
    items = recommender.dataset.encoders.items.ids.tolist()
    answers = [
        tuple(
            item["item_id"] for item in client.post("/recommend", json={"events": [{"item_id": item}]}).json()["items"]
        )
        for item in items[:10]
    ]
    assert len(set(answers)) > 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "truncated"),
        (b"[]", 400, "Expected `object`"),
        (b'{"user": 1}', 400, "user"),
        (b'{"k": 0, "events": []}', 400, "$.k"),
        (b'{"k": 501, "user_id": 1}', 400, "<= 500"),
        (b'{"events": [' + b'{"item_id":1},' * 1000 + b'{"item_id":1}]}', 400, "<= 1000"),
        (b'{"events": [{"item_id": 1, "timestamp": 1700000000000}]}', 400, "timestamp"),
        (b'{"user_id": "u", "candidates": 0}', 400, "candidates"),
        (b'{"user_id": "u", "context": {"device": "tv"}}', 400, "context"),
        (b'{"user_id": "u", "where": "prise < 3"}', 400, "Did you mean 'price'"),
        (b'{"user_id": "u", "where": "' + b"price < 3 and " * 200 + b'true"}', 400, "<= 2000"),
        (b'{"user_id": "u", "diversity": 7}', 400, "<= 1.0"),
        (b'{"user_id": "u", "caps": {"brand": 0}}', 400, ">= 1"),
        (b'{"user_id": "' + b"u" * 70_000 + b'"}', 413, "65536"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client: TestClient, body: bytes, status: int, words: str) -> None:
    answer = client.post("/recommend", content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_mistake_of_ours_is_told_without_its_insides(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret insides")

    desk = client.app.state.desk  # type: ignore[attr-defined]
    monkeypatch.setattr(type(desk.answering), "together", fail)
    answer = client.post("/recommend", json={"user_id": "u"}, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert client.get("/nothing").status_code == 404
    assert client.get("/recommend").status_code == 405
