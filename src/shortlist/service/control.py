"""Which bundle the processes of a service serve, as a small file that each of them follows."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

FILE = "serving.json"


class Control(msgspec.Struct, frozen=True):
    """``asked`` is what the service was started with; ``refused`` are versions that were rolled back."""

    asked: str
    bundle: str
    version: str
    refused: list[str] = []


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
        """Replace it."""
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(control))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
