"""Requests offered at a fixed rate, whether or not earlier ones are answered: the client of ``serving.py``."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from typing import Any

CONNECTIONS = 256


class _Connection(asyncio.Protocol):
    """One request at a time; tells when its answer is whole."""

    def __init__(self, free: deque[_Connection], done: Any) -> None:
        self._free, self._done, self._buffer = free, done, b""
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._free:
            self._free.remove(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._done(int(head[9:12]), time.perf_counter() - self.started)
        self._free.append(self)


async def offer(port: int, *, rate: float, seconds: float, users: int, items: int) -> dict[str, Any]:
    """Offer ``rate`` requests a second; the statuses, and the times in ms of those that were answered with items.

    A request that finds all connections waiting is counted as not sent.
    """
    free: deque[_Connection] = deque()
    statuses: Counter[int] = Counter()
    times: list[float] = []

    def done(status: int, took: float) -> None:
        statuses[status] += 1
        if status == 200:
            times.append(1e3 * took)

    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Connection(free, done), "127.0.0.1", port)
    draw, unsent, sent = random.Random(0), 0, 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        due = int(elapsed * rate)
        while sent + unsent < due:
            if not free:
                unsent += 1
                continue
            connection = free.popleft()
            body = f'{{"user_id":{draw.randrange(users)},"events":[{{"item_id":{draw.randrange(items)}}}]}}'
            connection.started = time.perf_counter()
            head = f"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.transport.write((head + body).encode())
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    times.sort()

    def at(share: float) -> float | None:
        return round(times[int(share * len(times))], 1) if times else None

    return {
        "sent": sent,
        "not_sent": unsent,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "accepted_p50_ms": at(0.5),
        "accepted_p99_ms": at(0.99),
    }
