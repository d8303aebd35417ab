"""Stores events from several threads until it is killed, and prints the id of each as soon as it is acknowledged.

    python writer.py ADDRESS ROUND THREADS KEEP

Each call has one event of a user of the thread's own, and one of the user "hot", of whom only KEEP are kept; every tenth
call also changes an item.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from shortlist.service.state import StoredEvent
from shortlist.service.state.sqlite import SQLiteState


def main() -> None:
    path, this_round, threads, keep = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    state = SQLiteState(path, keep=keep)
    say("ready")

    def write(thread: int) -> None:
        number = 0
        while True:
            # Of its own users none gets more events than are kept, so that all can be looked for.
            name, user = f"{this_round}.{thread}.{number}", f"{this_round}.{thread}.{number // keep}"
            hot = StoredEvent(f"hot.{name}", "hot", "tea", None, time.time())
            found = state.append_events([StoredEvent(name, user, "cup", number, time.time()), hot])
            assert (found.stored, found.duplicates) == (2, 0)
            say(name)
            if number % 10 == 0:
                revision = state.change_items([(f"item {name}", {"number": number})], received=time.time())
                say(f"item {name} {revision}")
            number += 1

    for thread in range(threads):
        threading.Thread(target=write, args=(thread,)).start()


def say(line: str) -> None:
    """One line in one piece, at once."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
