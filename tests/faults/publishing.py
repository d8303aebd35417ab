"""Publishing with a fault at every step: what stands at the path after each, for ``test_publishing.py``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec
from steps import FAILED, How, each_step

from shortlist import files
from shortlist.bundle import read_bundle, write_bundle
from shortlist.errors import BundleError, StateFull
from shortlist.service.control import FILE, Control, ControlFile

Contents = dict[str, bytes]


def publish(bundles: tuple[Path, Path], target: Path, how: How, *, replaces: bool, exchanges: bool) -> Counter[str]:
    """Publish the second bundle at ``target``, where the first one is or nothing; how often there was what."""
    old, new = (read_bundle(bundle) for bundle in bundles)
    known = {"old": _contents(bundles[0]), "new": _contents(bundles[1])}
    if not exchanges:
        files._exchanged = lambda one, other: False
    found: Counter[str] = Counter()

    def begin() -> None:
        for path in target.parent.iterdir() if not replaces else ():
            if path == target:
                path.rename(target.parent.with_name(f"away {found.total()}"))
        if replaces:
            write_bundle(target, old)
            assert _contents(target) == known["old"]
            assert [path.name for path in target.parent.iterdir()] == [target.name], "a leftover was not removed"

    begin()
    for ended in each_step(lambda: write_bundle(target, new), target.parent, how=how, expected=BundleError):
        there = _contents(target)
        state = next((name for name, contents in known.items() if contents == there), "mixed" if there else "none")
        if state == "none" and any(_contents(path) == known["old"] for path in target.parent.glob(".*/old")):
            state = "old, beside"
        if state in known:
            read_bundle(target)
        if ended == FAILED:
            assert state != "new", "it said that nothing has changed"
        elif ended is not None:
            assert state == "new"
        found[state] += 1
        begin()
    return found


def control(folder: Path, how: How) -> Counter[str]:
    """Write the control file again with a fault at each step."""
    old, new = (Control("/asked", f"/{name}", name) for name in ("old", "new"))
    found: Counter[str] = Counter()
    folder.mkdir()
    ControlFile(folder).write(old)
    for ended in each_step(lambda: ControlFile(folder).write(new), folder, how=how, expected=StateFull):
        read = ControlFile(folder).read()
        assert read in (old, new), msgspec.json.encode(read)
        assert read is not None
        assert ended is None or (read == old) == (ended == FAILED)
        found[read.version] += 1
        for left in folder.glob(".*"):
            os.utime(left, (0, 0))
        ControlFile(folder).write(old)
        assert [path.name for path in folder.iterdir()] == [FILE], "a leftover was not removed"
    return found


def _contents(folder: Path) -> Contents:
    return {file.name: file.read_bytes() for file in folder.glob("*")}
