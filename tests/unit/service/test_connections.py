"""The head of an answer goes out with its body, and by itself where no body comes at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from shortlist.service.connections import _Joining

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Transport:
    """One that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def written_by(*steps: Any) -> list[bytes]:
    """What reaches the client when ``steps`` are done one after another, None being a turn of the event loop."""
    transport = Transport()

    async def work() -> None:
        joining = _Joining(cast("asyncio.Transport", transport), asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif step == "close":
                joining.close()
            else:
                joining.write(step)
        await asyncio.sleep(0)
        assert joining.is_closing() == ("close" in steps)  # the rest is the transport's own

    asyncio.run(work())
    return transport.written


def test_a_head_waits_for_the_body_that_follows() -> None:
    assert written_by(HEAD, b"body", HEAD, b"", b"more") == [HEAD + b"body", HEAD, b"more"]


def test_a_head_without_a_body_goes_out_in_the_next_turn() -> None:
    assert written_by(HEAD, None, b"late") == [HEAD, b"late"]
    assert written_by(HEAD) == [HEAD]


def test_two_heads_in_a_row_both_go_out() -> None:
    assert b"".join(written_by(HEAD, HEAD, b"body")) == HEAD + HEAD + b"body"


def test_nothing_is_lost_where_the_connection_is_closed() -> None:
    assert written_by(HEAD, "close") == [HEAD]
