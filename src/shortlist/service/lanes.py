"""Requests to their turn: plain ones together, in batches, by the event loop itself; others alone, in a thread.

A batch is what has come while the last one was answered: one request at a time is answered at once, and many share what a
call of the networks costs however few it is for. Where several came together lately, as many are waited for, half a
millisecond at most: those who were answered together tend to come together again. Whoever comes when too many wait is
told to come again; and once somebody had to be, half as many may wait, until nobody had to be for a second: under more than
can be answered a full line does not help anybody, and those who are let in are answered in half the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

_GATHER_S = 0.0005
_BUSY_S = 1.0  # that half as many may wait, after one was told to come again

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Result = TypeVar("Result")


class Busy(Exception):
    """More wait already than is sensible."""


class Late(Exception):
    """An answer has taken too long."""


@dataclass(slots=True)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    kind: object
    answered: asyncio.Future[Answered]


class FastLane(Generic[Asked, Answered]):
    """Requests of one kind, as ``kind`` says, are answered together by ``answer``, oldest first."""

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answered]],
        *,
        kind: Callable[[Asked], object],
        most_waiting: int,
        most_together: int,
    ) -> None:
        self._answer, self._kind = answer, kind
        self._most_waiting, self._most_together = most_waiting, most_together
        self._waiting: deque[_Waiting[Asked, Answered]] = deque()
        self._is_called = False
        self._last, self._until = 1, 0.0  # how many came together lately, and until when as many are waited for
        self._busy_until = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def turns_away(self) -> bool:
        """Whether too many wait already for one more, who is told to come again then."""
        now = time.perf_counter()
        most = self._most_waiting if now > self._busy_until else max(1, self._most_waiting // 2)
        if len(self._waiting) < most:
            return False
        self._busy_until = now + _BUSY_S
        return True

    async def ask(self, asked: Asked) -> Answered:
        """The answer, when its turn has come; :class:`Busy` where too many wait already."""
        if self.turns_away():
            raise Busy
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answered] = loop.create_future()
        waiting = _Waiting(asked, self._kind(asked), answered)
        self._waiting.append(waiting)
        if not self._is_called:
            self._call(loop)
        return await answered

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next batch answered, after whatever else the loop has to do."""
        self._is_called, self._until = True, time.perf_counter() + _GATHER_S
        loop.call_soon(self._next_batch)

    def _next_batch(self) -> None:
        loop = asyncio.get_running_loop()
        if len(self._waiting) < self._last and time.perf_counter() < self._until:
            loop.call_soon(self._next_batch)  # a timer of the loop's counts in milliseconds
            return
        batch = self._taken()
        self._last = max(len(batch), self._last - 1)
        if self._waiting:
            self._call(loop)
        else:
            self._is_called = False
        if not batch:
            return
        try:
            answers = self._answer([each.asked for each in batch])
        except Exception as error:
            self._one_by_one(batch, error)
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.answered.done():  # the client may have gone
                each.answered.set_result(answer)

    def _taken(self) -> list[_Waiting[Asked, Answered]]:
        """The oldest one that is still wanted, with as many of its kind as may go together."""
        batch: list[_Waiting[Asked, Answered]] = []
        others: list[_Waiting[Asked, Answered]] = []
        while self._waiting and len(batch) < self._most_together:
            each = self._waiting.popleft()
            if each.answered.done():
                continue
            (batch if not batch or each.kind == batch[0].kind else others).append(each)
        self._waiting.extendleft(reversed(others))
        return batch

    def _one_by_one(self, batch: list[_Waiting[Asked, Answered]], error: Exception) -> None:
        """Of a batch that cannot be answered, answer those that can: one bad request fails alone."""
        for each in batch:
            if each.answered.done():
                continue
            if len(batch) == 1:
                each.answered.set_exception(error)
                continue
            try:
                each.answered.set_result(self._answer([each.asked])[0])
            except Exception as own:
                each.answered.set_exception(own)


class SlowLane:
    """Work that would hold up the event loop: in threads of its own, with a time limit for each piece."""

    def __init__(self, threads: int, *, most_waiting: int, timeout_s: float) -> None:
        self._most_waiting, self._timeout_s, self._count = most_waiting, timeout_s, 0
        self._threads = ThreadPoolExecutor(threads, "shortlist-slow")

    def __len__(self) -> int:
        """How many wait or are answered."""
        return self._count

    async def do(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``; :class:`Busy` where too many wait already, :class:`Late` after the time limit."""
        if self._count >= self._most_waiting:
            raise Busy
        self._count += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(future, self._timeout_s)
        except TimeoutError as error:
            raise Late from error

    def close(self) -> None:
        """End the threads when they are done with what they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: asyncio.Future[Result]) -> None:
        self._count -= 1
        if not future.cancelled():
            future.exception()  # seen, also where nobody waits for it any more
