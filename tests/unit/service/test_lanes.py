"""Requests are answered together where they come together, each gets its own answer, and too many are turned away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from shortlist.service.lanes import Busy, FastLane, Late, SlowLane


def lane(batches: list[list[int]], *, most_waiting: int = 100, most_together: int = 4) -> FastLane[int, str]:
    def answer(asked: Sequence[int]) -> list[str]:
        batches.append(list(asked))
        if 13 in asked:
            raise ValueError("unlucky")
        return [f"answer {each}" for each in asked]

    return FastLane(answer, kind=lambda each: each >= 100, most_waiting=most_waiting, most_together=most_together)


def test_what_comes_together_is_answered_together_oldest_first() -> None:
    batches: list[list[int]] = []

    async def ask() -> list[str]:
        fast = lane(batches)
        return await asyncio.gather(*(fast.ask(number) for number in range(10)))

    assert asyncio.run(ask()) == [f"answer {number}" for number in range(10)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_other_kinds_wait_for_a_batch_of_their_own_and_keep_their_order() -> None:
    batches: list[list[int]] = []

    async def ask() -> None:
        fast = lane(batches)
        await asyncio.gather(*(fast.ask(number) for number in [1, 100, 2, 101, 3, 4, 5]))

    asyncio.run(ask())
    assert batches == [[1, 2, 3, 4], [100, 101], [5]]


def test_one_bad_request_fails_alone() -> None:
    batches: list[list[int]] = []

    async def ask() -> list[object]:
        fast = lane(batches)
        return list(await asyncio.gather(*(fast.ask(number) for number in (1, 13, 2)), return_exceptions=True))

    first, second, third = asyncio.run(ask())
    assert (first, third) == ("answer 1", "answer 2")
    assert isinstance(second, ValueError)


def test_too_many_are_told_at_once_and_the_others_are_answered() -> None:
    async def ask() -> list[object]:
        fast = lane([], most_waiting=3)
        return list(await asyncio.gather(*(fast.ask(number) for number in range(5)), return_exceptions=True))

    answers = asyncio.run(ask())
    assert answers[:3] == ["answer 0", "answer 1", "answer 2"]
    assert all(isinstance(each, Busy) for each in answers[3:])


def test_once_one_was_told_half_as_many_may_wait_until_nobody_was_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.service.lanes._BUSY_S", 0.05)
    fast = lane([], most_waiting=4)

    async def let_in(number: int) -> int:
        answers = await asyncio.gather(*(fast.ask(each) for each in range(number)), return_exceptions=True)
        return sum(not isinstance(each, Busy) for each in answers)

    async def ask() -> list[int]:
        counts = [await let_in(4), await let_in(5), await let_in(4)]
        await asyncio.sleep(0.06)
        return [*counts, await let_in(4)]

    assert asyncio.run(ask()) == [4, 4, 2, 4]


def test_who_has_gone_is_not_answered_and_the_lane_goes_on() -> None:
    batches: list[list[int]] = []

    async def ask() -> str:
        fast = lane(batches)
        gone = asyncio.ensure_future(fast.ask(1))
        await asyncio.sleep(0)  # it waits
        gone.cancel()
        await asyncio.sleep(0)
        return await fast.ask(2)

    assert asyncio.run(ask()) == "answer 2"
    assert [2] in batches


def test_other_work_of_the_loop_is_done_between_batches() -> None:
    async def ask() -> int:
        fast, seen = lane([], most_together=1), 0
        asked = [asyncio.ensure_future(fast.ask(number)) for number in range(20)]
        while not asked[-1].done():
            seen += 1
            await asyncio.sleep(0)
        return seen

    assert asyncio.run(ask()) >= 20


def test_slow_work_leaves_the_loop_free() -> None:
    async def ask() -> tuple[str, float]:
        slow = SlowLane(1, most_waiting=4, timeout_s=5)
        started = time.perf_counter()
        work = asyncio.ensure_future(slow.do(lambda: time.sleep(0.2) or threading.current_thread().name))
        await asyncio.sleep(0.01)
        free_after = time.perf_counter() - started
        return await work, free_after

    name, free_after = asyncio.run(ask())
    assert name.startswith("shortlist-slow")
    assert free_after < 0.15


def test_slow_work_beyond_its_time_and_beyond_its_room_is_refused() -> None:
    async def ask() -> list[object]:
        slow = SlowLane(1, most_waiting=2, timeout_s=0.05)
        work = [slow.do(lambda: time.sleep(0.2)) for _ in range(3)]
        results = list(await asyncio.gather(*work, return_exceptions=True))
        await asyncio.sleep(0.3)
        assert len(slow) == 0
        return [type(each) for each in results]

    assert asyncio.run(ask()) == [Late, Late, Busy]


def test_an_error_of_slow_work_reaches_its_caller() -> None:
    def fail() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        asyncio.run(SlowLane(1, most_waiting=1, timeout_s=1).do(fail))
