"""A thousand users: what a batch of them is recommended in Python is what each is answered over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from running import Client, are_near, running, scores

import shortlist as sl

CONNECTIONS = 8
LATER = 2_000_000_000  # than all stored events


@pytest.mark.parametrize("is_fresh", [False, True])
def test_batches_offline_and_requests_online_agree(
    bundles: tuple[Path, Path], tmp_path: Path, is_fresh: bool, record_property: Callable[[str, object], None]
) -> None:
    """With a retriever's index, a second retriever and a ranker; ``is_fresh``: with an event that just happened."""
    recommender = sl.load(bundles[0])
    users = recommender.known_users()
    assert len(users) == 1_000
    latest = {user: f"i{1 + place % 200:04d}" for place, user in enumerate(users)} if is_fresh else {}
    events = pl.DataFrame({"user_id": list(latest), "item_id": list(latest.values()), "timestamp": LATER})
    stated = recommender.recommend(users, events=events if is_fresh else None, k=10)
    offline = {
        user: dict(zip(part["item_id"], part["score"], strict=True))
        for (user,), part in stated.group_by("user_id", maintain_order=True)
    }
    bodies = [
        {"user_id": user}
        | ({"events": [{"item_id": latest[user], "timestamp": LATER}]} if is_fresh else {})
        for user in users
    ]  # fmt: skip

    def ask(part: list[Any]) -> list[dict[str, float]]:
        with closing(Client(service.port)) as client:
            answers = [client.post("/recommend", body) for body in part]
        assert {status for status, _ in answers} == {200}
        return [scores(answer) for _, answer in answers]

    parts = [bodies[start::CONNECTIONS] for start in range(CONNECTIONS)]
    with running(bundles[0], tmp_path) as service, ThreadPoolExecutor(CONNECTIONS) as threads:
        found = list(threads.map(ask, parts))
        with closing(Client(service.port)) as client:
            figures = client.ask("GET", "/metrics")[1]
        assert service.failures() == []
    online = {body["user_id"]: answer for part, own in zip(parts, found, strict=True) for body, answer in zip(part, own, strict=True)}  # fmt: skip
    assert online.keys() == offline.keys()
    differ = [user for user in users if not are_near(online[user], offline[user])]
    assert differ == [], (online[differ[0]], offline[differ[0]])
    answered, batches = (
        float(re.findall(rf"^shortlist_batch_requests_{name} (.*)$", figures, re.MULTILINE)[0])
        for name in ("sum", "count")
    )
    assert answered == len(users)
    assert answered > 1.5 * batches  # not one by one
    record_property("users", len(users))
    record_property("requests_a_batch", answered / batches)
    record_property("in_the_same_order", sum(list(online[user]) == list(offline[user]) for user in users))
