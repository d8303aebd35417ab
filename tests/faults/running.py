"""Processes for tests that harm them: a service that is started, asked and killed, and others to crash in.

Short by default; ``SHORTLIST_FAULTS=long`` makes the long form of every test (``benchmarks/faults.py`` runs them all).
Processes are forked from one that has imported all there is to import: a test would else spend its time with that.
"""

from __future__ import annotations

import http.client
import json
import math
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import shortlist

LONG = os.environ.get("SHORTLIST_FAULTS") == "long"
SOURCE = Path(shortlist.__file__).resolve().parents[1]
START_S = 120.0  # on a machine that has other work

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["shortlist.cli", "shortlist.service.app", "shortlist.workflow", "faiss", "uvicorn"])

Answered = tuple[int, Any]  # a status and what came with it


class Client:
    """One connection, made anew where the server has closed it before an answer began."""

    def __init__(self, port: int, *, timeout_s: float = 60) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def ask(self, method: str, path: str, body: Any = None) -> Answered:
        """The status and the JSON of an answer."""
        return self.send(method, path, None if body is None else json.dumps(body).encode())

    def send(self, method: str, path: str, data: bytes | None) -> Answered:
        """The same to a body of any bytes."""
        try:
            self.begin(method, path, data)
            return self.end()
        except BaseException:
            self._connection.close()
            raise

    def begin(self, method: str, path: str, data: bytes | None) -> None:
        """Send a request."""
        self._connection.request(method, path, data)

    def end(self) -> Answered:
        """Wait for its answer."""
        response = self._connection.getresponse()
        content = response.read()
        is_json = response.headers.get("content-type", "") == "application/json"
        return response.status, json.loads(content) if is_json else content.decode()

    def post(self, path: str, body: Any = None) -> Answered:
        """The answer to a POST."""
        return self.ask("POST", path, body)

    def connect(self) -> None:
        """Be let in, if this is not yet so."""
        if self._connection.sock is None:
            self._connection.connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Service:
    """``shortlist serve`` as a process of its own, with its files in ``folder``."""

    def __init__(self, bundle: Path, folder: Path, *options: str, is_forked: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.folder, self.log = folder, folder / "log"
        place = ["--port", str(self.port), "--folder", str(folder), "--log-level", "warning"]
        self._arguments = ["serve", str(bundle), *place, *options]
        self._is_forked = is_forked
        self._process: Any = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self._is_forked:
            self._process = _FORKING.Process(target=_serve, args=(self._arguments, str(self.log)))
            self._process.start()
        else:
            program = [sys.executable, "-c", "from shortlist.cli import main; main()", *self._arguments]
            environment = os.environ | {"PYTHONPATH": str(SOURCE)}
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(program, stderr=log, stdout=log, env=environment)
        until = time.monotonic() + START_S
        while not self.is_ready():
            assert self.exit_code is None, self.told()
            assert time.monotonic() < until, self.told()
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Its process, of several workers the one above them."""
        return int(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """How it has ended: a status, or less than 0 by a signal; None while it runs."""
        return self._process.exitcode if self._is_forked else self._process.poll()

    def is_ready(self) -> bool:
        """Whether it answers."""
        client = Client(self.port, timeout_s=5)
        try:
            return client.ask("GET", "/health/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait(20) == -signal.SIGKILL

    def stop(self) -> None:
        """Tell it to end, and wait for that."""
        if self._process is not None and self.exit_code is None:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(30)

    def limit(self, what: int, most: int) -> None:
        """Let it have no more than ``most`` of a resource from now on; -1: as much as there is."""
        resource.prlimit(self.pid, what, (most, resource.prlimit(self.pid, what)[1]))

    def limit_memory(self, more: int) -> None:
        """Let it have no more than so many bytes beyond what it has: a machine that others use is not to run out of it."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0])
        self.limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more)

    def wait(self, seconds: float) -> int | None:
        """How it has ended, at the latest after so many seconds."""
        until = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < until:
            time.sleep(0.01)
        return self.exit_code

    def told(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4_000:]

    def failures(self) -> list[str]:
        """Lines of its log that are mistakes of ours."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line[-1_500:] for line in lines if '"traceback"' in line or "Traceback" in line]


def _serve(arguments: list[str], log: str) -> None:
    from shortlist.cli import main

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.argv = ["shortlist", *arguments]
    main()


@contextmanager
def running(bundle: Path, folder: Path, *options: str, is_forked: bool = True) -> Iterator[Service]:
    """A service for the block."""
    service = Service(bundle, folder, *options, is_forked=is_forked)
    try:
        service.start()
        yield service
    finally:
        service.stop()


class Threads:
    """Threads that do ``work``, each with its number, until the end of the block, when ``stopped`` is set."""

    def __init__(self, work: Callable[[int], None], number: int) -> None:
        self.stopped = threading.Event()
        self._threads = [threading.Thread(target=work, args=(each,)) for each in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join()


class Load(Threads):
    """Threads that ask without pause until they are told to stop; each answer goes to ``check``."""

    def __init__(self, port: int, bodies: Sequence[Any], check: Any, *, threads: int, path: str = "/recommend") -> None:
        super().__init__(self._ask, threads)
        self.count, self.errors = 0, list[str]()
        self._port, self._bodies, self._check, self._path = port, bodies, check, path

    def _ask(self, number: int) -> None:
        client = Client(self._port)
        while not self.stopped.is_set():
            number += 1
            body = self._bodies[number % len(self._bodies)]
            try:
                problem = self._check(body, *client.post(self._path, body))
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            self.count += 1
            if problem is not None:
                self.errors.append(problem)
        client.close()


def pool(workers: int = 1) -> ProcessPoolExecutor:
    """Processes that have everything imported; one that crashes is a BrokenProcessPool."""
    return ProcessPoolExecutor(workers, mp_context=_FORKING)


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
