"""A piece of work, done again and again by a process that dies, or meets an error, one step further each time.

A step is whatever the system sees of writing: opening, making, renaming, removing, locking, flushing, and exchanging names.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

How = Literal["kill", "error"]
MOST = 1_000  # steps; no work here has so many
FINISHED, FAILED = 0, 3  # how a process ends that was not killed

_NAMES = ("open", "os.", "tempfile.", "fcntl.flock", "ctypes.dlsym")


def each_step(work: Callable[[], object], folder: Path, *, how: How, expected: type[Exception]) -> Iterator[int | None]:
    """Do ``work`` with a fault at its first step in ``folder``, then its second, until it has no more; how each has ended.

    None is a process that was killed. Error that ``work`` raises are of the kind ``expected``.
    """
    for number in range(1, MOST):
        child = os.fork()
        if not child:
            _do(work, folder, number, how, expected)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, f"step {number} ended by signal {os.WTERMSIG(status)}"
            yield None
            continue
        ended = os.WEXITSTATUS(status)
        assert ended in (FINISHED, FAILED), f"step {number} ended with {ended}"
        yield ended
        if ended == FINISHED and not _was_reached(folder):
            return
    raise AssertionError(f"{MOST} steps did not end it")


def _do(work: Callable[[], object], folder: Path, number: int, how: How, expected: type[Exception]) -> NoReturn:
    """The life of one process."""
    mark = _mark(folder)
    mark.unlink(missing_ok=True)
    ended = 4
    try:
        _arm(folder, number, how, mark)
        work()
        ended = FINISHED
    except expected:
        ended = FAILED
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(ended)


def _mark(folder: Path) -> Path:
    """A file that says that the fault was met."""
    return folder.with_name(f"{folder.name}.met")


def _was_reached(folder: Path) -> bool:
    return _mark(folder).exists()


def _arm(folder: Path, number: int, how: How, mark: Path) -> None:
    left = number

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            return
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        mark.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if left <= 0 or not event.startswith(_NAMES):
            return
        if event == "ctypes.dlsym":
            if arguments[1] == "renameat2":
                step()
        elif event == "fcntl.flock" or str(arguments[0]).startswith(str(folder)):
            step()

    sync = os.fsync

    def counted(handle: int) -> None:
        step()
        sync(handle)

    os.fsync = counted
    sys.addaudithook(hook)
