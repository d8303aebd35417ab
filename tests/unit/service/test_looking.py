"""What the page asks beside recommendations: its files, items and users to pick, pasts, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from tests.unit.service.looking_app import QUICK, Service, app_of, client_of

import shortlist as sl
from shortlist.data import read_dataset
from shortlist.recommender import Recommender
from shortlist.service import page

STATIC = Path(page.__file__).parent / "static"
NOON = 1_700_000_000
# of each item how often it was taken; "tea" and "TEAPOT" are as popular as each other
TAKEN = {"i1": 2, "i2": 5, "i3": 3, "i4": 3, "i5": 0}
TITLES = {"i1": "Cup", "i2": "Saucer", "i3": "tea, green", "i4": "A TEAPOT", "i5": None}


@pytest.fixture(scope="module")
def shop() -> Recommender:
    """Six users; the first takes every item that is taken at all, in the order of their numbers, and rates the second badly."""
    takes = [(f"u{user}", item) for item, count in TAKEN.items() for user in range(count)]
    events = pl.DataFrame(
        {
            "user_id": [user for user, _ in takes] + ["u5"],
            "item_id": [item for _, item in takes] + ["i2"],
            "rating": [2 if take == ("u0", "i2") else 5 for take in takes] + [5],
            "timestamp": [NOON + 60 * place for place in range(len(takes) + 1)],
        }
    )
    items = pl.DataFrame({"item_id": list(TITLES), "title": list(TITLES.values())})
    dataset = read_dataset(events, items=items, schema={"title": "title", "positive": "rating >= 4"})
    return Recommender(sl.fit(sl.SASRec(embedding_dim=8, history=4), dataset, training=QUICK))


@pytest.fixture
def service(shop: Recommender) -> Service:
    return Service(shop)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(app_of(service)) as client:
        yield client


def ids(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()]


def test_the_page_is_sent_with_a_policy_that_allows_no_other_place_and_nothing_inline(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_file_that_is_known_already_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/page.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = client.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/page.js", headers={"If-None-Match": '"other"'}).content == first.content
    assert client.get("/page/style.css").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("name", ["no.js", "..%2F__init__.py", "%2Fetc%2Fpasswd", "..%2Ffiles.py", ""])
def test_only_the_files_of_the_page_can_be_named(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_every_file_that_the_page_names_is_there(client: TestClient) -> None:
    named = set(re.findall(r'(?:href|src)="(page/[^"]+)"', (STATIC / "index.html").read_text()))
    for script in STATIC.glob("*.js"):
        named |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())}
    assert len(named) > 10
    assert {name for name in named if client.get(f"/{name}").status_code != 200} == set()
    assert {f"page/{path.name}" for path in STATIC.iterdir()} - named == {"page/index.html"}


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_a_file_of_the_page_is_short_plain_and_asks_no_other_place(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"<style|style=|<script>|\son[a-z]+=\"|javascript:", text)


def test_without_a_text_the_items_with_most_events_are_found(client: TestClient) -> None:
    assert client.get("/catalogue").json()[0] == {"item_id": "i2", "title": "Saucer", "has_image": False}
    assert ids(client.get("/catalogue")) == ["i2", "i3", "i4", "i1", "i5"]
    assert ids(client.get("/catalogue?limit=2")) == ["i2", "i3"]


@pytest.mark.parametrize(
    ("search", "found"),
    [("tea", ["i3", "i4"]), ("TEA,", ["i3"]), ("I5", ["i5"]), ("  cup ", ["i1"]), (".*", []), ("no such", [])],
)
def test_items_are_found_by_a_part_of_their_title_or_id_in_any_case(
    client: TestClient, search: str, found: list[str]
) -> None:
    assert ids(client.get("/catalogue", params={"search": search})) == found


def test_items_are_looked_up_by_id_and_those_not_known_are_left_out(client: TestClient) -> None:
    answer = client.get("/catalogue", params={"item": ["i4", "nobody's", "i5"]})
    assert [(item["item_id"], item["title"]) for item in answer.json()] == [("i4", "A TEAPOT"), ("i5", None)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "from 1 to 100"),
        ("limit=many", "'many'"),
        ("limit=101", "101"),
        ("search=" + "a" * 201, "201 letters"),
        ("&".join(["item=i1"] * 501), "501 items"),
    ],
)
def test_a_question_that_asks_too_much_is_told_so(client: TestClient, query: str, words: str) -> None:
    answer = client.get(f"/catalogue?{query}")
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_recommender_that_is_exchanged_is_the_one_looked_through(client: TestClient, service: Service) -> None:
    assert ids(client.get("/catalogue?search=saucer")) == ["i2"]
    new = pl.DataFrame({"item_id": ["i6"], "title": ["Saucer, blue"]})
    service.recommender = service.recommender.refresh(new, remove=["i2"])
    assert ids(client.get("/catalogue?search=saucer")) == ["i6"]
    assert ids(client.get("/catalogue")) == ["i3", "i4", "i1", "i5", "i6"]
    assert ids(client.get("/catalogue?item=i2")) == ["i2"]  # it is offered no more, and histories still name it


def test_users_are_found_by_id_those_with_most_events_first(client: TestClient) -> None:
    found = client.get("/users").json()
    assert found[0] == {"user_id": "u0", "events": 4}
    assert [user["events"] for user in found] == [4, 4, 3, 1, 1, 1]
    assert [user["user_id"] for user in client.get("/users?search=U3").json()] == ["u3"]
    assert client.get("/users?search=u9").json() == []


def test_a_history_is_told_newest_first_with_what_does_not_count(client: TestClient) -> None:
    past = client.get("/users/u0/history").json()
    assert [event["item_id"] for event in past] == ["i4", "i3", "i2", "i1"]
    assert [event["liked"] for event in past] == [True, True, False, True]
    assert past[-1] == {"item_id": "i1", "title": "Cup", "has_image": False, "timestamp": NOON, "liked": True}
    assert [event["item_id"] for event in client.get("/users/u0/history?limit=1").json()] == ["i4"]
    assert client.get("/users/nobody/history").json() == []


def test_later_events_stand_in_a_history_where_their_time_puts_them(client: TestClient, service: Service) -> None:
    service.events["u0"] = [
        {"item_id": "i5", "timestamp": NOON + 1},
        {"item_id": "no such item", "timestamp": NOON + 2},
        {"item_id": "i1", "timestamp": 2 * NOON},
    ]
    past = client.get("/users/u0/history").json()
    assert [event["item_id"] for event in past] == ["i1", "i4", "i3", "i2", "i5", "i1"]
    service.events["new"] = [{"item_id": "i3"}, {"item_id": "i4"}]  # without times they come in their order
    past = client.get("/users/new/history").json()
    assert [(event["item_id"], event["timestamp"]) for event in past] == [("i4", None), ("i3", None)]


def test_an_explanation_is_the_recommenders_own(client: TestClient, shop: Recommender) -> None:
    def rows(told: pl.DataFrame) -> list[tuple[Any, ...]]:
        return [(item, title or None, pytest.approx(added, abs=1e-6)) for item, title, added in told.iter_rows()]

    def answered(body: dict[str, Any]) -> list[tuple[Any, ...]]:
        answer = client.post("/explain", json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["item_id"], answer.json()["model"]) == (body["item_id"], "SASRec")
        return [tuple(each.values()) for each in answer.json()["contributions"]]

    assert answered({"user_id": "u0", "item_id": "i5"}) == rows(shop.explain("u0", "i5"))
    session = [{"item_id": "i2"}, {"item_id": "i5"}]
    assert answered({"events": session, "item_id": "i1"}) == rows(shop.explain(None, "i1", events=session))


def test_an_explanation_knows_the_users_later_events(client: TestClient, service: Service, shop: Recommender) -> None:
    service.events["u5"] = [{"item_id": "i1", "timestamp": 2 * NOON}]
    answer = client.post("/explain", json={"user_id": "u5", "item_id": "i4", "events": [{"item_id": "i5"}]}).json()
    assert {each["item_id"] for each in answer["contributions"]} == {"i2", "i1", "i5"}
    wanted = shop.explain("u5", "i4", events=[{"item_id": "i1"}, {"item_id": "i5"}])["contribution"].to_list()
    assert [each["contribution"] for each in answer["contributions"]] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"user_id": "u0", "item_id": "i9"}', 400, "no item 'i9'"),
        (b'{"user_id": "nobody", "item_id": "i1"}', 400, "No event of the history"),
        (b'{"user_id": "u0"}', 400, "item_id"),
        (b'{"user_id": "u0", "item_id": "i1", "item": 1}', 400, "unknown field"),
        (b"[", 400, "Expected `object`"),
        (b'{"item_id": "' + b"i" * 70_000 + b'"}', 413, "65536"),
        (b'{"user_id": "u0", "item_id": "i1", "context": {"device": "tv"}}', 400, "context"),
    ],
)
def test_an_explanation_that_cannot_be_given_is_told_why(
    client: TestClient, body: bytes, status: int, words: str
) -> None:
    answer = client.post("/explain", content=body)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_titles_may_come_as_any_sequence(shop: Recommender) -> None:
    from collections import UserList
    from dataclasses import replace

    titles: Callable[[list[str]], Any] = UserList
    encoders = replace(shop.dataset.encoders, titles=titles(["a", "b", "c", "find me", "e"]))
    other = shop.with_data(history=replace(shop.dataset, encoders=encoders))
    assert ids(client_of(other).get("/catalogue?search=find")) == ["i4"]
