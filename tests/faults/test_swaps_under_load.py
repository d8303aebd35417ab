"""Bundles that are swapped while requests come: none fails, and each answer is of the version that it states."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from running import LONG, Client, Load, Service

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


def scores(answer: Any) -> dict[str, float]:
    """The score of each item of an answer."""
    return {item["item_id"]: item["score"] for item in answer["items"]}


def are_near(mine: dict[str, float], theirs: dict[str, float]) -> bool:
    """Whether the scores are the same but for their last digits, which depend on who else asked at the time.

    Of items whose scores are that near to the last one of a list, either may have got the last place.
    """
    last = min(theirs.values())
    both = all(math.isclose(mine[item], theirs[item], rel_tol=1e-4, abs_tol=1e-4) for item in mine.keys() & theirs)
    others = [{**mine, **theirs}[item] for item in mine.keys() ^ theirs]
    return both and all(math.isclose(score, last, rel_tol=1e-4, abs_tol=1e-4) for score in others)
