"""A night's events, and items, into a bundle beside the ones before, which a service with ``--watch`` swaps in by itself.

    python nightly.py BUNDLES --folder FOLDER [--events FILE | --stored] [--items FILE] [--keep 7]

FOLDER is the service's own, which says what it serves: that is gone on from, also after a rollback. With events the models are
trained on (``shortlist train --resume-from``); with items alone they become retrievable (``shortlist refresh``). Events need
times: those that are known already are left out, so that a file may come again. With --stored they are those that came to the
service by ``POST /events``, out of its folder or of the store that SHORTLIST_STATE names. Of the bundles made here the newest ones stay,
for rollbacks; others in the folder are never removed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shortlist.errors import ShortlistError
from shortlist.service.control import ControlFile
from shortlist.service.generation import newest

NAME = "%Y-%m-%dT%H%M%S"
MADE_HERE = re.compile(r"\d{4}-\d\d-\d\dT\d{6}")


def options() -> argparse.ArgumentParser:
    """What it is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    events = parser.add_mutually_exclusive_group()
    events.add_argument("--events", type=Path)
    events.add_argument("--stored", action="store_true")
    parser.add_argument("--items", type=Path)
    parser.add_argument("--keep", type=int, choices=range(1, 1_000), metavar="N", default=7)
    return parser


def main() -> int:
    """Make a bundle, then remove old ones; the exit code of what failed."""
    asked = options().parse_args()
    try:
        before = served(asked.bundles, asked.folder)
    except ShortlistError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        if asked.stored:
            asked.events = Path(folder, "events.parquet")
            store = os.environ.get("SHORTLIST_STATE", str(asked.folder))
            if code := shortlist("events", store, "--like", str(before), "--out", str(asked.events)):
                return code
        return made(asked, before)


def made(asked: argparse.Namespace, before: Path) -> int:
    """Make a bundle from the one before."""
    out = asked.bundles / time.strftime(NAME, time.gmtime())
    has_events = asked.events is not None and asked.events.exists()
    items = ["--items", str(asked.items)] if asked.items is not None and asked.items.exists() else []
    if has_events:
        command = ["train", str(asked.events), "--resume-from", str(before), *items, "--out", str(out)]
    elif items:
        command = ["refresh", str(before), *items, "--out", str(out)]
    else:
        print("error: Neither --events nor --items is there: nothing is newer than the last bundle.", file=sys.stderr)
        return 2
    code = shortlist(*command)
    if code == 0:
        remove_old(asked.bundles, keep=asked.keep, but={before.name, out.name})
    return code


def shortlist(*command: str) -> int:
    """Run one command; its exit code."""
    print("shortlist", *command, flush=True)
    return subprocess.run([Path(sys.executable).with_name("shortlist"), *command], check=False).returncode


def served(bundles: Path, folder: Path) -> Path:
    """The bundle that the service serves, or would if it were started."""
    control = ControlFile(folder).read()
    if control is not None and (Path(control.bundle) / "bundle.json").is_file():
        return Path(control.bundle)
    path, _ = newest(bundles, refused=() if control is None else control.refused)
    return path


def remove_old(bundles: Path, *, keep: int, but: set[str]) -> None:
    """Remove all but the newest ``keep`` bundles that were made here."""
    made = sorted((path for path in bundles.iterdir() if MADE_HERE.fullmatch(path.name)), reverse=True)
    for path in made[keep:]:
        if path.name not in but:
            print("removes", path, flush=True)
            gone = path.rename(path.with_name(f".{path.name}"))  # whole: nobody finds half of it
            shutil.rmtree(gone)


if __name__ == "__main__":
    sys.exit(main())
