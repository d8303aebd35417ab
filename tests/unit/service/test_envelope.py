"""What happens around every request: ids, figures, and being sent away before anything is read."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from shortlist.service.envelope import Envelope
from shortlist.service.metrics import Metrics
from shortlist.service.stopping import Stopping


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One that reads and answers."""
    scope["state"]["route"] = scope["path"]
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})


def asked(metrics: Metrics, path: str, *, is_full: bool) -> tuple[int, dict[bytes, bytes], bytes, int]:
    """The status, headers and body of a POST to ``path``, and how often its body was asked for."""
    messages: list[Any] = []
    reads = 0

    async def receive() -> Any:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"x-request-id", b"mine")]}
    envelope = Envelope(app, metrics=metrics, stopping=Stopping(), full={("POST", "/recommend"): lambda: is_full})
    asyncio.run(envelope(scope, receive, send))
    start, body = messages
    return start["status"], dict(start["headers"]), body["body"], reads


def test_where_too_many_wait_a_request_is_sent_away_unread(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO, "shortlist.service.requests"):
        status, headers, body, reads = asked(metrics, "/recommend", is_full=True)
    assert (status, reads) == (429, 0)
    assert (headers[b"retry-after"], headers[b"x-request-id"]) == (b"1", b"mine")
    assert "come again" in msgspec.json.decode(body)["error"].lower()
    text = metrics.text().decode()
    assert 'shortlist_requests_total{route="/recommend",status="429"} 1.0' in text
    assert "shortlist_shed_total 1.0" in text
    assert not caplog.records  # such are counted, and nothing else


def test_others_are_answered_and_have_a_line(caplog: pytest.LogCaptureFixture) -> None:
    for path, is_full in (("/recommend", False), ("/events", True)):
        with caplog.at_level(logging.INFO, "shortlist.service.requests"):
            status, _, body, reads = asked(Metrics(), path, is_full=is_full)
        assert (status, body, reads) == (200, b"answer", 1)
    assert [record.__dict__["route"] for record in caplog.records] == ["/recommend", "/events"]
