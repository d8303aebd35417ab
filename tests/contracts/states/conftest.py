"""A store of each kind, empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.states.stores import Store

from shortlist.service.state import State


@pytest.fixture(scope="module")
def redis_url(make_redis: Callable[[], Any]) -> str:
    server = make_redis()
    server.start()
    return str(server.url)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("redis_url")
        import redis

        with redis.Redis.from_url(url) as server:
            server.flushall()
    made = Store(url)
    yield made
    for state in made.states:
        state.close()


@pytest.fixture
def state(store: Store) -> State:
    return store.open()
