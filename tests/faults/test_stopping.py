"""A service that is told to stop answers what it was asked, and a worker that dies is replaced."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import START_S, Client, Service, Threads, running

THREADS = 8


class Asking(Threads):
    """Threads that ask without pause: what came of the requests that were sent before and after a moment."""

    def __init__(self, port: int) -> None:
        super().__init__(self._ask, THREADS)
        self.moment = float("inf")
        self.before, self.after = Counter[str](), Counter[str]()
        self._port = port

    def _ask(self, number: int) -> None:
        client = Client(self._port)
        while not self.stopped.is_set():
            number += 1
            # Every third one takes longer, in a thread of the service.
            body = {"user_id": f"u{number % 100:04d}"} | (
                {"where": "price < 50", "diversity": 0.5} if number % 3 == 0 else {}
            )
            try:
                client.connect()
            except OSError:  # not sent: the door is closed
                self.after["not let in"] += 1
                time.sleep(0.01)
                continue
            sent = time.monotonic()
            try:
                outcome = str(client.post("/recommend", body)[0])
            except (OSError, http.client.HTTPException) as error:
                outcome = repr(error)
            (self.before if sent < self.moment else self.after)[outcome] += 1
        client.close()


def stopped(service: Service) -> tuple[Counter[str], int | None, float]:
    """What came of requests that were sent before the service was told to stop, how it ended, and after how many seconds."""
    with Asking(service.port) as asking:
        time.sleep(1)
        asking.moment = time.monotonic()
        os.kill(service.pid, signal.SIGTERM)
        code = service.wait(20)
        took = time.monotonic() - asking.moment
    return asking.before, code, took


def test_a_service_that_is_told_to_stop_answers_what_it_was_asked(
    bundles: tuple[Path, Path], tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    with running(bundles[0], tmp_path, is_forked=False) as service:
        before, code, took = stopped(service)
    record_property("answered", before.total())
    assert set(before) <= {"200", "429"}, before
    assert before["200"] > 10
    assert code == 0, service.told()
    assert took < 10
    assert service.failures() == []


def test_requests_that_were_not_even_read_when_the_signal_came_are_answered(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    """Some in connections that have had an answer, some in new ones that nobody has let in."""
    with running(bundles[0], tmp_path) as service:
        known, new = ([Client(service.port) for _ in range(10)] for _ in range(2))
        for client in known:
            assert client.post("/recommend", {"user_id": "u0001"})[0] == 200
        os.kill(service.pid, signal.SIGSTOP)
        for client in known + new:
            client.begin("POST", "/recommend", b'{"user_id": "u0002"}')
        os.kill(service.pid, signal.SIGTERM)
        os.kill(service.pid, signal.SIGCONT)
        assert [client.end()[0] for client in known + new] == [200] * 20
        assert service.wait(10) == 0
        for client in known + new:
            client.close()


def test_a_worker_that_dies_is_replaced_and_two_are_stopped_as_one_is(
    bundles: tuple[Path, Path], tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    with running(bundles[0], tmp_path, "--workers", "2", "--log-level", "info", is_forked=False) as service:
        until = begun(service, 2)
        first = workers(service)[0]
        os.kill(first, signal.SIGKILL)
        failed, answered = 0, 0
        while len(workers(service)) < 3:
            assert time.monotonic() < until, service.told()
            client = Client(service.port)
            try:
                assert client.post("/recommend", {"user_id": "u0001"})[0] == 200
                answered += 1
            except (OSError, http.client.HTTPException):
                failed += 1  # one that the dead one had taken in, at the moment of its death
            client.close()
            time.sleep(0.01)
        assert failed <= 1
        before, code, took = stopped(service)
    record_property("answered", before.total() + answered)
    assert set(before) <= {"200", "429"}, before
    assert code == 0, service.told()
    assert took < 10
    assert service.failures() == []


def test_workers_whose_first_process_is_killed_end_and_leave_the_port(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    with running(bundles[0], tmp_path, "--workers", "2", "--log-level", "info", is_forked=False) as service:
        until = begun(service, 2)
        service.kill()
        while any(Path(f"/proc/{worker}").exists() for worker in workers(service)):
            assert time.monotonic() < until, service.told()
            time.sleep(0.05)
        service.start()  # on the same port, with the same folder
        assert service.failures() == []


def begun(service: Service, number: int) -> float:
    """Wait until so many workers answer; until when whatever comes next is waited for."""
    until = time.monotonic() + START_S
    while len(workers(service)) < number:
        assert time.monotonic() < until, service.told()
        time.sleep(0.05)
    return until


def workers(service: Service) -> list[int]:
    """The processes that have begun to answer, as the log names them."""
    lines = service.log.read_text().splitlines()
    begun = [int(found[1]) for line in lines if (found := re.search(r"Started server process \[(\d+)\]", line))]
    return begun[: sum("Application startup complete" in line for line in lines)]
