"""Clients that send a byte a second, or nothing, or take nothing, hold up nobody else and are not waited for for long."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from running import LONG, Client, Service

from shortlist.service.connections import MOST_AHEAD, MOST_HEAD, WHOLE_S

SOCKETS = 200 if LONG else 50
TOLERANCE = 2.0 if LONG else 4.0  # of a test among others on a busy machine
HEAD = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
BODY = HEAD + b"content-length: 100\r\n\r\n"
PAGE = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"

# What a client sends at once, and what it then sends every second.
KINDS = {
    "head, byte by byte": (HEAD[:10], b"x"),
    "body, byte by byte": (BODY, b" "),
    "no body": (BODY, b""),
    "nothing": (b"", b""),
    "half a request after a whole one": (PAGE + HEAD[:10], b"x"),
}


def times(port: int, count: int) -> list[float]:
    """Seconds of so many requests, one after the other, rising."""
    found = []
    with closing(Client(port)) as client:
        for number in range(count):
            started = time.perf_counter()
            assert client.post("/recommend", {"user_id": f"u{number % 100:04d}"})[0] == 200
            found.append(time.perf_counter() - started)
    return sorted(found)


class Slow:
    """Sockets of all kinds, in a thread: how each has ended, and when."""

    def __init__(self, port: int) -> None:
        names = [list(KINDS)[number % len(KINDS)] for number in range(SOCKETS)]
        self.sockets = [(name, socket.create_connection(("127.0.0.1", port))) for name in names]
        self.answers = {each: b"" for _, each in self.sockets}
        self.ended: list[tuple[str, float]] = []
        self._begun = time.monotonic()
        for name, each in self.sockets:
            each.setblocking(False)
            each.send(KINDS[name][0])
        self.thread = threading.Thread(target=self._drip)
        self.thread.start()

    def _drip(self) -> None:
        left = dict(map(reversed, self.sockets))
        while left and time.monotonic() < self._begun + 3 * WHOLE_S:
            time.sleep(0.25)
            for each, name in list(left.items()):
                try:
                    if int(4 * (time.monotonic() - self._begun)) % 4 == 0:
                        each.send(KINDS[name][1])
                    part = each.recv(65_536)
                except BlockingIOError:
                    continue
                except OSError:
                    part = b""
                self.answers[each] += part
                if not part:
                    self.ended.append((name, time.monotonic() - self._begun))
                    each.close()
                    del left[each]


def test_slow_clients_hold_up_nobody_and_are_not_waited_for(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    times(service.port, 100)
    before = times(service.port, 400)
    slow = Slow(service.port)
    meanwhile = times(service.port, 400)
    slow.thread.join()
    p99 = [each[int(0.99 * len(each))] for each in (before, meanwhile)]
    record_property("p99_ms", [round(1e3 * each, 2) for each in p99])
    record_property("p50_ms", [round(1e3 * statistics.median(each), 2) for each in (before, meanwhile)])
    ended = Counter(name for name, _ in slow.ended)
    assert ended.total() == SOCKETS, ended
    assert max(after for _, after in slow.ended) < WHOLE_S + 5
    for name, each in slow.sockets:
        answer = slow.answers[each]
        if name == "nothing":
            assert answer == b""
        else:
            assert b"HTTP/1.1 408 " in answer, (name, answer)
            assert b"connection: close" in answer
    assert statistics.median(meanwhile) <= TOLERANCE * statistics.median(before) + 0.01
    assert p99[1] <= TOLERANCE * p99[0] + 0.05


def test_a_client_that_takes_nothing_is_not_waited_for(service: Service) -> None:
    with closing(Client(service.port)) as other:  # which the service has let in when it has answered
        assert other.ask("GET", "/health/live")[0] == 200
        base = num_sockets(service)
        each = socket.create_connection(("127.0.0.1", service.port))
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        each.sendall(PAGE)
        until = time.monotonic() + 10
        while num_sockets(service) <= base:
            assert time.monotonic() < until
        each.setblocking(False)
        until = time.monotonic() + 2 * WHOLE_S + 30
        while num_sockets(service) > base:
            assert time.monotonic() < until
            with suppress(BlockingIOError, ConnectionError):
                each.send(PAGE * 4)
            time.sleep(0.02)
            other.ask("GET", "/health/live")
        each.close()


def test_a_client_that_asks_a_thousand_times_at_once_is_sent_away(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as each, closing(Client(service.port)) as other:
        each.settimeout(10)
        with suppress(ConnectionError):
            each.sendall(PAGE * 100_000)
        started = time.perf_counter()
        assert other.post("/recommend", {"user_id": "u0001"})[0] == 200
        assert time.perf_counter() - started < 2
        with suppress(ConnectionError):
            while each.recv(1_000_000):
                pass
    with socket.create_connection(("127.0.0.1", service.port)) as each:  # a few are fine
        each.settimeout(10)
        each.sendall(PAGE * (MOST_AHEAD - 1) + PAGE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        answers = b""
        while part := each.recv(1_000_000):
            answers += part
        assert answers.count(b"HTTP/1.1 200 OK") == MOST_AHEAD


def test_headers_without_an_end_are_not_kept(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as each:
        each.settimeout(10)
        each.sendall(PAGE[:-2])
        sent = 0
        try:
            while sent < 1_000 * MOST_HEAD:
                each.sendall(b"x-more: " + b"x" * 8_000 + b"\r\n")
                sent += 8_010
        except ConnectionError:
            pass
    assert sent < 500 * MOST_HEAD  # as much as lies in the buffers of the two
    with socket.create_connection(("127.0.0.1", service.port)) as each:
        each.settimeout(10)
        each.sendall(PAGE[:-2] + b"x-more: " + b"x" * 3 * MOST_HEAD)
        assert each.recv(20) == b"HTTP/1.1 431 Request"


def num_sockets(service: Service) -> int:
    """Those that the service has open."""
    count = 0
    for handle in Path(f"/proc/{service.pid}/fd").iterdir():
        try:
            count += str(handle.readlink()).startswith("socket:")
        except OSError:
            continue
    return count
