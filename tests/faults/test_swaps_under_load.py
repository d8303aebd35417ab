"""Bundles that are swapped while requests come: none fails, and each answer is of the version that it states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from running import LONG, Client, Load, Service, are_near, scores

SWAPS = 100 if LONG else 5
THREADS = 4


def test_no_request_fails_while_bundles_are_swapped_and_each_answer_is_of_one(
    service: Service, bundles: tuple[Path, Path], record_property: Callable[[str, object], None]
) -> None:
    bodies = [
        {"user_id": f"u{number:04d}"} | ({"where": "price > 1"} if number % 4 == 0 else {}) for number in range(40)
    ]
    wanted: dict[str, list[dict[str, float]]] = {}
    with closing(Client(service.port)) as client:

        def swap(number: int) -> None:
            """To the second bundle by its name, and back by rolling back or by its name."""
            if number % 4 == 3:
                status, answer = client.post("/admin/rollback")
            else:
                status, answer = client.post("/admin/reload", {"bundle": str(bundles[1 - number % 2])})
            assert status == 200, answer

        for number in range(2):
            swap(number)
            answers = [client.post("/recommend", body)[1] for body in bodies]
            wanted[answers[0]["versions"]["model"]] = [scores(answer) for answer in answers]
        one, other = wanted.values()
        assert sum(not are_near(mine, theirs) for mine, theirs in zip(one, other, strict=True)) > 10
        seen: set[str] = set()

        def check(body: Any, status: int, answer: Any) -> str | None:
            if status != 200:
                return f"{status} {answer}"
            seen.add(answer["versions"]["model"])
            stated = wanted[answer["versions"]["model"]][bodies.index(body)]
            if not are_near(scores(answer), stated):
                return f"{body} was answered by {answer['versions']} with {scores(answer)} instead of {stated}"
            return None

        with Load(service.port, bodies, check, threads=THREADS) as load:
            for number in range(SWAPS):
                swap(number)
    assert load.errors == []
    assert seen == set(wanted)
    record_property("swaps", SWAPS)
    record_property("requests", load.count)
