"""Every route without a token, with a wrong one and with one too weak; and who may learn who is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from shortlist.service import ServiceSettings
from shortlist.service.app import create_app

NEEDED = [
    ("POST", "/recommend", "recommend"),
    ("POST", "/rank", "recommend"),
    ("GET", "/items/i0001/similar", "recommend"),
    ("POST", "/events", "write"),
    ("PUT", "/items", "write"),
    ("DELETE", "/items/nothing", "write"),
    ("GET", "/metrics", "admin"),
    ("POST", "/admin/reload", "admin"),
    ("POST", "/admin/rollback", "admin"),
    ("GET", "/catalogue", "recommend"),
    ("GET", "/items/i0001/image", "recommend"),
    ("POST", "/explain", "recommend"),
    ("GET", "/users", "admin"),
    ("GET", "/users/u0001/history", "admin"),
]
RIGHTS = ["recommend", "write", "admin"]


@pytest.fixture(scope="module")
def client(shop_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("service")
    lines = [
        f'[[token]]\nname = "{right}"\nsha256 = "{hashlib.sha256(f"{right}-token".encode()).hexdigest()}"\nrights = ["{right}"]'
        for right in RIGHTS
    ]
    (folder / "tokens.toml").write_text("\n".join(lines))
    settings = ServiceSettings(bundle=shop_files.bundle, folder=folder, tokens=folder / "tokens.toml")
    with TestClient(create_app(settings)) as client:
        yield client


def _as(right: str) -> dict[str, str]:
    return {"authorization": f"Bearer {right}-token"}


def test_every_route_is_in_this_table_or_open(client: TestClient) -> None:
    routes = {(next(iter(route.methods - {"HEAD"})), route.path) for route in client.app.routes}  # type: ignore[attr-defined]
    free = {("GET", path) for path in ("/health/live", "/health/ready", "/openapi.json", "/", "/page/{file}")}
    names = {"i0001": "{item_id:path}", "nothing": "{item_id:path}", "u0001": "{user_id:path}"}
    listed = {(method, "/".join(names.get(part, part) for part in path.split("/"))) for method, path, _ in NEEDED}
    assert routes - free == listed


@pytest.mark.parametrize(("method", "path", "right"), NEEDED)
def test_a_route_asks_for_its_right(client: TestClient, method: str, path: str, right: str) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path).headers["www-authenticate"] == "Bearer"
    assert client.request(method, path, headers={"authorization": "Bearer wrong"}).status_code == 401
    for other in RIGHTS:
        status = client.request(method, path, headers=_as(other)).status_code
        assert (status in (401, 403)) == (other != right)


def test_health_needs_no_token(client: TestClient) -> None:
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 200


def test_known_and_unknown_users_look_alike_to_who_may_not_know(client: TestClient) -> None:
    known, unknown = (
        client.post("/recommend", json={"user_id": user}, headers=_as("recommend")) for user in ("u0001", "nobody")
    )
    assert known.status_code == unknown.status_code == 200
    assert known.json()["source"] is None
    assert unknown.json()["source"] is None
    assert known.json().keys() == unknown.json().keys()
    assert known.headers.keys() == unknown.headers.keys()
    session = client.post("/recommend", json={"events": [{"item_id": "i0001"}]}, headers=_as("recommend"))
    assert session.json()["source"] == "session"


def test_no_other_site_may_read_an_answer(client: TestClient) -> None:
    answer = client.get("/health/live", headers={"origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_what_explains_an_answer_for_a_user_is_not_for_everybody(client: TestClient) -> None:
    asked = {"item_id": "i0005", "user_id": "u0001"}
    assert client.post("/explain", json=asked, headers=_as("recommend")).status_code == 403
    session = {"item_id": "i0005", "events": [{"item_id": "i0001"}]}
    assert client.post("/explain", json=session, headers=_as("recommend")).status_code == 200


def test_the_page_is_open_and_asks_for_nothing_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
