"""The parts of deploy/ together, on free ports of this machine: two replicas, Redis between them, nginx in front."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deployed import compose, has_nginx, nginx_config, running_nginx

TOKEN = "a token with all rights"
PROGRAM = [sys.executable, "-c", "from shortlist.cli import main; main()"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        return [item["item_id"] for item in self.json["items"]]


@dataclass(frozen=True)
class Deployment:
    """Where the parts answer. A request without a replica's number goes through nginx."""

    nginx: int
    replicas: tuple[int, int]
    processes: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
    folder: Path

    def ask(
        self, method: str, path: str, body: Any = None, *, replica: int | None = None, headers: dict[str, str] | None = None
    ) -> Answer:  # fmt: skip
        port = self.nginx if replica is None else self.replicas[replica]
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        told = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, told, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as found:
                return Answer(found.status, {**found.headers}, found.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, {**error.headers}, error.read())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """Where a replica listens, once it does."""
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        if "Application startup complete" in log.read_text():
            (port,) = re.findall(r'"message":"listens".*"port":(\d+)', log.read_text())
            return int(port)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def deployment(
    shop_files: Any, make_redis: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Started as compose.yaml starts it, but for addresses and folders."""
    if not has_nginx():
        pytest.skip("there is no nginx on PATH or in /usr/sbin; Debian's package is nginx")
    folder = tmp_path_factory.mktemp("deployment")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (folder / "tokens.toml").write_text(
        f'[[token]]\nname = "all"\nsha256 = "{digest}"\nrights = ["recommend", "write", "admin"]\n'
    )
    (folder / "bundles").mkdir()
    (folder / "bundles" / "first").symlink_to(shop_files.bundle)
    redis = make_redis()
    redis.start(*compose()["services"]["redis"]["command"][1:])
    processes, logs = [], []
    for name in ("recommend-1", "recommend-2"):
        here = {
            "/bundles": str(folder / "bundles"),
            "/var/lib/shortlist": str(folder / name),
            "/run/secrets/tokens.toml": str(folder / "tokens.toml"),
            "redis://redis:6379/0": redis.url,
            "8000": "0",
            "0.0.0.0": "127.0.0.1",
        }
        command = [here.get(each, each) for each in compose()["services"][name]["command"]]
        logs.append(folder / f"{name}.log")
        with logs[-1].open("wb") as log:
            processes.append(subprocess.Popen([*PROGRAM, *command], stderr=log))
    try:
        replicas = tuple(_port_of(*each) for each in zip(processes, logs, strict=True))
        port = _free_port()
        with running_nginx(nginx_config(folder, port=port, replicas=replicas)):
            found = Deployment(port, (replicas[0], replicas[1]), (processes[0], processes[1]), folder)
            _wait(lambda: found.ask("GET", "/health/ready").status == 200)
            yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def _wait(is_so: Callable[[], bool], seconds: float = 20) -> float:
    """Seconds until it is so."""
    started = time.monotonic()
    while True:
        try:
            if is_so():
                return time.monotonic() - started
        except OSError:
            pass
        assert time.monotonic() < started + seconds
        time.sleep(0.01)


def test_an_event_is_known_to_both_replicas_at_once(deployment: Deployment) -> None:
    for number in range(6):
        body = {"user_id": f"newcomer {number}", "k": 20}
        best = deployment.ask("POST", "/recommend", body).ids[0]
        stored = deployment.ask("POST", "/events", {"events": [{"user_id": body["user_id"], "item_id": best}]})
        assert stored.json["stored"] == 1
        answers = [deployment.ask("POST", "/recommend", body, replica=replica) for replica in (0, 1)]
        assert [answer.json["source"] for answer in answers] == ["session", "session"]
        assert answers[0].ids == answers[1].ids
        assert best not in answers[0].ids
    time.sleep(1.2)  # nginx writes its log once a second
    asked = {json.loads(line)["replica"] for line in (deployment.folder / "access.log").read_text().splitlines()}
    assert asked == {f"127.0.0.1:{port}" for port in deployment.replicas}


def test_a_new_item_is_retrievable_through_both_within_a_second(deployment: Deployment, shop_files: Any) -> None:
    row = pl.read_parquet(shop_files.items).row(0, named=True)

    def seconds(item: str) -> float:
        assert deployment.ask("PUT", "/items", {"items": [row | {"product_id": item}]}).status == 200
        asked = {"user_id": "u0001", "items": [item]}
        both = [partial(deployment.ask, "POST", "/recommend", asked, replica=replica) for replica in (0, 1)]
        return _wait(lambda: all(ask().ids == [item] for ask in both))

    assert min(map(seconds, ("new 1", "new 2", "new 3"))) < 1  # the machine may have other work at one time


def test_nginx_passes_ids_on_and_keeps_what_is_inside(deployment: Deployment) -> None:
    answer = deployment.ask("POST", "/recommend", {"user_id": "u0001"}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert re.fullmatch(r"\w{32}", deployment.ask("GET", "/health/live").headers["x-request-id"])
    for path in (
        "/admin/reload",
        "/admin/rollback",
        "/metrics",
        "/%61dmin/rollback",
        "//admin/rollback",
        "/x/../metrics",
    ):
        for method in ("GET", "POST"):
            answer = deployment.ask(method, path)
            assert (answer.status, answer.json["error"]) == (404, "Not Found"), path
            assert "x-request-id" not in answer.headers, path  # no replica was asked
    large = deployment.ask("POST", "/recommend", b'{"user_id": "' + b"u" * 70_000 + b'"}')
    assert (large.status, large.json["error"][:15]) == (413, "The body has mo")
    zipped = deployment.ask("POST", "/recommend", {"user_id": "u0001", "k": 100}, headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(zipped.body))["items"]) == 100
    nobody = deployment.ask("POST", "/recommend", {"user_id": "u0001"}, headers={"Authorization": "Bearer wrong"})
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, "Bearer")


def test_requests_go_on_without_an_error_when_a_replica_is_killed(deployment: Deployment) -> None:
    statuses: list[int | str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            try:
                statuses.append(deployment.ask("POST", "/recommend", {"user_id": "u0002"}).status)
            except http.client.IncompleteRead:
                statuses.append("cut off")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    _wait(lambda: len(statuses) > 40)
    os.kill(deployment.processes[0].pid, signal.SIGKILL)
    deployment.processes[0].wait(20)
    before = len(statuses)
    _wait(lambda: len(statuses) > before + 100)
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, "cut off"}
    assert statuses.count("cut off") <= 1  # an answer that was half sent when its sender ended cannot be asked for anew
    event = {"user_id": "u0002", "item_id": "i0001", "event_id": "after the kill"}
    assert deployment.ask("POST", "/events", {"events": [event]}).json["stored"] == 1
    assert deployment.ask("POST", "/recommend", {"user_id": "u0002"}).status == 200
