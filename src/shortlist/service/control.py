"""Which bundle the processes of a service serve, as a small file that each of them follows."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from pathlib import Path

import msgspec

from shortlist.errors import StateFull, StateUnavailable

FILE = "serving.json"
_ABANDONED_S = 60  # nobody writes for so long


class Control(msgspec.Struct, frozen=True):
    """``asked`` is what the service was started with; ``refused`` are versions that were rolled back; ``before`` is the bundle
    that was served before.
    """

    asked: str
    bundle: str
    version: str
    refused: list[str] = []
    before: str | None = None


class ControlFile:
    """The file in a service's folder; it is replaced whole, so that readers find the old or the new."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen: tuple[int, int] | None = None

    def read(self) -> Control | None:
        """What it says; None where there is none, or none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Control)
        except (OSError, msgspec.DecodeError):
            return None

    def news(self) -> Control | None:
        """What it says, where it was replaced since it was last asked."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        if (found.st_mtime_ns, found.st_ino) == self._seen:
            return None
        self._seen = found.st_mtime_ns, found.st_ino
        return self.read()

    def write(self, control: Control) -> None:
        """Replace it; where that cannot be done it is as before, and that is a :class:`StateError`."""
        name = None
        try:
            handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(control))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except OSError as error:
            if name is not None:
                Path(name).unlink(missing_ok=True)
            kind = StateFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StateUnavailable
            raise kind(f"{self._path} cannot be written: {error.strerror}. What it said holds.") from error
        self._sweep()

    def _sweep(self) -> None:
        """Remove what is left of writers that were killed."""
        with contextlib.suppress(OSError):  # the next writer tries again
            for left in self._path.parent.glob(f".{FILE}.*"):
                if left.stat().st_mtime < time.time() - _ABANDONED_S:
                    left.unlink()
