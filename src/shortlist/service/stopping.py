"""The signal to stop to a service that first answers what is on its way to it.

uvicorn closes at the signal whatever connection has no request, and its door. A request that lay there unread would get no
answer. So the service goes on for a moment, and ends each connection with the answer that it gives.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

LINGER_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Whether a service has been told to stop."""

    def __init__(self) -> None:
        self.has_begun = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """For the block, have a first signal take effect a moment later; the event loop runs in this thread.

        Signals can only be listened to in the main thread: elsewhere this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def begin(number: int, frame: FrameType | None) -> None:
            handler = before[signal.Signals(number)]
            if not callable(handler):
                return
            if self.has_begun:  # somebody is impatient
                handler(number, frame)
                return
            self.has_begun = True
            loop.call_soon_threadsafe(partial(loop.call_later, LINGER_S, handler, number, None))

        for number in _SIGNALS:
            if callable(before[number]):
                signal.signal(number, begin)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
