"""What goes wrong with a store of the service's state, made to happen.

Short by default. ``SHORTLIST_FAULT_ROUNDS`` says how often a writing process is killed (5 unless set, 100 for the long
form) and, times 12, how many damaged files are tried:

    SHORTLIST_FAULT_ROUNDS=100 pytest tests/faults/test_state.py
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import shortlist
from shortlist.errors import StateError, StateFull, StateUnavailable
from shortlist.service.state import Appended, ItemChange, StoredEvent
from shortlist.service.state.redis import RedisState
from shortlist.service.state.sqlite import SQLiteState

ROUNDS = int(os.environ.get("SHORTLIST_FAULT_ROUNDS", "5"))
SOURCE = Path(shortlist.__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SOURCE)}


def event(name: str, user: str = "ann") -> StoredEvent:
    return StoredEvent(name, user, "tea", None, 1e9)


def ids(state: Any, user: str = "ann", *, limit: int = 1_000) -> list[str]:
    return [found.event_id for found in state.recent_events(user, limit=limit)]


def is_intact(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def test_a_writing_process_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path, threads, keep = tmp_path / "state.db", 3, 50
    draw = random.Random(0)
    items: dict[str, int] = {}
    num_acknowledged = 0
    for this_round in range(ROUNDS):
        command = [sys.executable, str(Path(__file__).with_name("writer.py")), str(path), str(this_round)]
        writer = subprocess.Popen(
            [*command, str(threads), str(keep)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        lines: list[str] = []
        # Read beside: a full pipe would hold the writer up.
        reader = threading.Thread(target=lambda out=writer.stdout, into=lines: into.extend(out))
        reader.start()
        until = time.monotonic() + 60
        while not lines and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=20) == -signal.SIGKILL
        reader.join()
        writer.stdout.close()
        assert lines[0] == "ready\n"
        acknowledged = [line.strip() for line in lines[1:] if line.endswith("\n") and not line.startswith("item")]
        items |= {line[5:].split()[0]: int(line.split()[2]) for line in lines[1:] if line.startswith("item")}
        num_acknowledged += len(acknowledged)

        state = SQLiteState(path, keep=keep)
        for thread in range(threads):
            of_thread = [name for name in acknowledged if name.startswith(f"{this_round}.{thread}.")]
            users = range(len(of_thread) // keep + 1)
            stored = [name for user in users for name in ids(state, f"{this_round}.{thread}.{user}")]
            # One more may have been stored whose acknowledgement was not sent or printed any more.
            assert stored[: len(of_thread)] == of_thread
            assert len(stored) - len(of_thread) <= 1
        hot = ids(state, "hot")
        for thread in range(threads):
            numbers = [int(name.split(".")[3]) for name in hot if name.startswith(f"hot.{this_round}.{thread}.")]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        again = [event(f"hot.{name}", "hot") for name in acknowledged]
        assert state.append_events(again) == Appended(0, len(again))
        assert state.append_events([event(f"after {this_round}", "after")]) == Appended(1, 0)
        changes = {change.item_id.removeprefix("item "): change.revision for change in state.item_changes(after=0)}
        assert items.items() <= changes.items()
        state.close()
        assert is_intact(path)
    state = SQLiteState(path, keep=keep)
    assert ids(state, "after") == [f"after {this_round}" for this_round in range(ROUNDS)][-keep:]
    state.close()
    assert num_acknowledged > 0
    print(f"{ROUNDS} kills, {num_acknowledged} events acknowledged, none lost")


FULL = """
import contextlib, resource, sys
from pathlib import Path
from shortlist.errors import StateFull, StateUnavailable
from shortlist.service.state import StoredEvent
from shortlist.service.state.sqlite import SQLiteState

folder, how = Path(sys.argv[1]), sys.argv[2]
state = SQLiteState(folder / "state.db", keep=10**6)
filler = folder / "filler"

def fill():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    else:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

def make_room():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.unlink()

stored, number = [], 0
def write(size=1):
    global number
    names = [f"{number + part}" for part in range(size)]
    number += size
    state.append_events([StoredEvent(name, "ann", "x" * 500, None, 1.0) for name in names])
    stored.extend(names)
def check_reading():
    assert [event.event_id for event in state.recent_events("ann", limit=10**6)] == stored
    assert [change.item_id for change in state.item_changes(after=0)] == ["tea"]

state.change_items([("tea", {})], received=1.0)
for _ in range(100):
    write()
for times in range(3):
    fill()
    errors = 0
    for size in (1, 1, 3, 1, 40, 1) * 1_000:
        try:
            write(size)
        except StateFull as error:
            assert "no room" in str(error), error
            check_reading()
            errors += 1
            if errors == 12:
                break
    assert errors == 12, errors
    try:
        state.change_items([(f"more {number}", {"text": "x" * 500_000}) for number in range(5)], received=1.0)
        raise AssertionError("stored beyond the limit")
    except StateFull:
        pass
    try:
        for _ in range(50):
            state.check()
    except StateUnavailable as error:
        assert "no room" in str(error), error
    check_reading()
    make_room()
    for _ in range(20):
        write()
    state.check()
    check_reading()
state.close()
again = SQLiteState(folder / "state.db", keep=10**6)
assert [event.event_id for event in again.recent_events("ann", limit=10**6)] == stored
again.close()
print("all kept", len(stored))
"""


def test_a_file_that_may_not_grow_is_full_and_goes_on_when_it_may(tmp_path: Path) -> None:
    """By a limit on the size of files, which fails as a quota does."""
    command = [sys.executable, "-c", FULL, str(tmp_path), "limit"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("all kept"), done.stderr
    assert is_intact(tmp_path / "state.db")


def test_a_full_disk_is_full_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A small file system in memory, which only the process that is tested sees."""
    mounting = "mount -t tmpfs -o size=16m tmpfs"
    unshare = ["unshare", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, f"{mounting} {tmp_path}"], capture_output=True).returncode
    ):
        pytest.skip("no file system may be mounted here")
    script = f'{mounting} "$1" && exec "$2" -c "$3" "$1" disk'
    command = [*unshare, script, "sh", str(tmp_path), sys.executable, FULL]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("all kept"), done.stderr


def test_a_locked_file_is_unavailable_for_writing_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path, wait_s=0.2)
    state.append_events([event("a")])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for write in (lambda: state.append_events([event("b")]), state.check):
            begun = time.monotonic()
            with pytest.raises(StateUnavailable, match="locked"):
                write()
            assert 0.2 <= time.monotonic() - begun < 2
        assert ids(state) == ["a"]
        assert state.revision() == 0
        other.execute("ROLLBACK")
    assert state.append_events([event("b")]) == Appended(1, 0)
    assert ids(state) == ["a", "b"]
    state.close()


def test_all_who_wait_for_a_locked_file_are_told_and_none_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path, wait_s=0.2)
    told: list[Exception] = []

    def write(number: int) -> None:
        try:
            state.append_events([event(str(number))])
        except StateUnavailable as error:
            told.append(error)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.execute("ROLLBACK")
    assert len({id(error) for error in told}) == 10
    assert ids(state) == []
    assert state.append_events([event("after")]) == Appended(1, 0)
    state.close()


def test_a_file_that_was_removed_or_replaced_takes_no_more_events(tmp_path: Path) -> None:
    """They would go to a file without a name, and be lost with the process."""
    path = tmp_path / "state.db"
    state = SQLiteState(path)
    state.append_events([event("a")])
    kept = tmp_path / "kept.db"
    path.rename(kept)
    with pytest.raises(StateUnavailable, match="cannot be used: No such file"):
        state.append_events([event("b")])
    path.write_bytes(kept.read_bytes())
    with pytest.raises(StateUnavailable, match="no longer the file"):
        state.append_events([event("b")])
    with pytest.raises(StateUnavailable, match="no longer the file"):
        state.check()
    state.close()


def test_a_file_that_lost_its_main_part_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    (tmp_path / "state.db-wal").write_bytes(b"rest")
    with pytest.raises(StateUnavailable, match=r"state.db-wal is, a part of it"):
        SQLiteState(path)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "state.db-wal"]


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(foreign, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    in_wal = tmp_path / "wal.db"
    with contextlib.closing(sqlite3.connect(in_wal, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")
        contents = {name: (tmp_path / name).read_bytes() for name in ("wal.db", "wal.db-wal")}
    for name, content in contents.items():  # as after a kill: closing has tidied up
        (tmp_path / name).write_bytes(content)
    for name, content in [
        ("text", b"user_id,item_id\n1,2\n" * 500),
        ("short", b"SQLite"),
        ("only the beginning", b"SQLite format 3\0"),
        ("empty", b""),
        ("zeros", bytes(8_192)),
    ]:
        (tmp_path / name).write_bytes(content)
    names = ["foreign.db", "wal.db", "text", "short", "only the beginning", "empty", "zeros"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in names:
        with pytest.raises(StateUnavailable, match=r"It is left as it is"):
            SQLiteState(tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(StateUnavailable, match="cannot be used: Is a directory"):
        SQLiteState(tmp_path)
    with pytest.raises(StateUnavailable, match="there is no folder"):
        SQLiteState(tmp_path / "nowhere" / "state.db")


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StateUnavailable, match="store of version 2; this Shortlist reads 1"):
        SQLiteState(path)


def test_a_store_without_one_of_its_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE trimmed")
    with pytest.raises(StateUnavailable, match="lacks tables"):
        SQLiteState(path)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The file with one kind of damage."""
    changed = bytearray(content)
    kind = draw.randrange(4)
    if kind == 0:  # some bytes, anywhere
        for _ in range(draw.choice([1, 3, 50])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    elif kind == 1:  # a piece of noise
        start, size = draw.randrange(len(changed)), draw.choice([16, 512, 4_096])
        changed[start : start + size] = draw.randbytes(len(changed[start : start + size]))
    elif kind == 2:  # a page or two of zeros
        start = draw.randrange(len(changed) // 4_096) * 4_096
        changed[start : start + 8_192] = bytes(len(changed[start : start + 8_192]))
    else:  # cut short
        del changed[draw.randrange(len(changed)) :]
    return bytes(changed)


def test_a_damaged_file_is_refused_or_answers_and_never_ends_the_process(tmp_path: Path) -> None:
    """What is refused when it is opened is left as it is, to the byte."""
    path = tmp_path / "state.db"
    state = SQLiteState(path, keep=40)
    draw = random.Random(1)
    for number in range(60):
        state.append_events([event(f"{number}-{part}", f"u{draw.randrange(30)}") for part in range(40)])
        state.change_items([(f"i{number}", {"number": number, "text": "x" * 300})], received=1.0)
    state.close()
    sound = path.read_bytes()
    num_refused = 0
    for number in range(12 * ROUNDS):
        content = damaged(sound, draw)
        path.write_bytes(content)
        try:
            state = SQLiteState(path, keep=40)
        except StateUnavailable:
            num_refused += 1
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest(), number
        else:
            use(state)
        path.with_name("state.db-wal").unlink(missing_ok=True)
        path.with_name("state.db-shm").unlink(missing_ok=True)
    assert num_refused > 12 * ROUNDS / 3
    print(f"{12 * ROUNDS} damaged files, {num_refused} refused when opened")


def use(state: SQLiteState) -> None:
    """Everything that can be asked: an answer of the right types, or one of our errors."""
    for user in range(30):
        with contextlib.suppress(StateError):
            for found in state.recent_events(f"u{user}", limit=50):
                assert [type(found.event_id), type(found.item_id), type(found.received)] == [str, str, float]
    with contextlib.suppress(StateError):
        assert all(type(change) is ItemChange for change in state.item_changes(after=0))
    for user in range(30):
        with contextlib.suppress(StateError):
            assert state.append_events([event(f"new {user}", f"u{user}")]) == Appended(1, 0)
    with contextlib.suppress(StateError):
        state.change_items([("i1", None)], received=1.0)
    state.close()


def test_after_damage_was_met_nothing_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path)
    state.append_events([event(str(number), f"u{number}") for number in range(3_000)])
    state.close()
    state = SQLiteState(path)
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)  # all but the tables' names, after the file was looked through
    path.write_bytes(content)
    with pytest.raises(StateUnavailable, match="damaged"):
        state.recent_events("u7", limit=1)
    with pytest.raises(StateUnavailable, match="damaged"):
        state.append_events([event("new")])
    with pytest.raises(StateUnavailable, match="damaged"):
        state.check()
    state.close()
    assert path.read_bytes() == bytes(content)


OPENER = """
import sys
from shortlist.service.state import StoredEvent
from shortlist.service.state.sqlite import SQLiteState
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    state = SQLiteState(sys.argv[1], wait_s=20)
    state.append_events([StoredEvent(f"{sys.argv[2]}-{number}", "ann", "tea", None, 1.0)])
    state.close()
"""


def test_processes_that_make_and_open_and_close_the_same_store_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", OPENER, str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    openers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate(timeout=60)
    assert [opener.returncode for opener in openers] == [0] * 4
    state = SQLiteState(path)
    stored = ids(state)
    for number in range(4):
        assert [name for name in stored if name.startswith(f"{number}-")] == [f"{number}-{n}" for n in range(25)]
    state.close()
    assert list(tmp_path.iterdir()) == [path]


def test_redis_that_is_killed_is_unavailable_and_works_again_when_it_is_back(make_redis: Callable[[], Any]) -> None:
    server = make_redis()
    state = RedisState(server.url, wait_s=20, read_wait_s=20)  # before there is one
    with pytest.raises(StateUnavailable, match="cannot be reached"):
        state.append_events([event("early")])
    server.start()
    stored = []
    for this_round in range(3):
        for number in range(50):
            state.append_events([event(f"{this_round}-{number}")])
            stored.append(f"{this_round}-{number}")
        state.change_items([(str(this_round), {})], received=1.0)
        server.end(signal.SIGKILL)
        calls: list[Callable[[], object]] = [
            lambda: state.append_events([event("lost")]),
            lambda: state.recent_events("ann", limit=5),
            lambda: state.item_changes(after=0),
            state.revision,
            state.check,
        ]
        for call in calls:
            begun = time.monotonic()
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                call()
            assert time.monotonic() - begun < 1
        server.start()
        assert ids(state) == stored
        assert state.revision() == this_round + 1
    state.close()


def test_redis_that_hangs_is_unavailable_soon_and_holds_nobody_up_twice(make_redis: Callable[[], Any]) -> None:
    server = make_redis()
    server.start()
    state = RedisState(server.url, wait_s=20, read_wait_s=1.0)
    state.append_events([event("a")])
    server.end(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StateUnavailable, match="does not answer in time"):
            ids(state)
        assert time.monotonic() - begun < 3
        begun = time.monotonic()
        for _ in range(100):
            with pytest.raises(StateUnavailable, match="did not answer in time just now"):
                ids(state)
        assert time.monotonic() - begun < 0.5
    finally:
        server.end(signal.SIGCONT)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert ids(state) == ["a"]
            break
        except StateUnavailable:
            time.sleep(0.05)
    assert state.append_events([event("b")]) == Appended(1, 0)
    assert ids(state) == ["a", "b"]
    state.close()


def test_redis_without_memory_is_full_and_goes_on_when_there_is_some(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start()
    state = RedisState(server.url, wait_s=20, read_wait_s=20)
    state.append_events([event("a")])
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", "1mb")
        for write in (
            lambda: state.append_events([event("b"), event("a")]),
            lambda: state.change_items([("tea", {})], received=1.0),
        ):
            with pytest.raises(StateFull, match="no room") as told:
                write()
            assert "tea" not in str(told.value)
        with pytest.raises(StateUnavailable, match="no room"):
            state.check()
        assert ids(state) == ["a"]
        assert state.item_changes(after=0) == []
        admin.config_set("maxmemory", "0")
    assert state.append_events([event("b"), event("a")]) == Appended(1, 1)
    state.check()
    state.close()


def test_redis_that_keeps_nothing_is_warned_of_once(make_redis: Callable[[], Any]) -> None:
    from shortlist.errors import ShortlistWarning

    server = make_redis()
    server.start("--appendonly", "no")
    state = RedisState(server.url)
    with pytest.warns(ShortlistWarning, match="no append-only file: a restart loses events"):
        state.append_events([event("a")])
    state.append_events([event("b")])
    assert ids(state) == ["a", "b"]
    state.close()


def test_redis_that_can_tell_is_waited_for_until_it_has_flushed(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start("--appendfsync", "everysec")
    with redis.Redis.from_url(server.url) as admin:
        version = str(admin.info("server")["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < (7, 2):
            pytest.skip(f"the server is of version {version}; WAITAOF came with 7.2")
        state = RedisState(server.url, wait_s=20)
        for name in "abc":
            state.append_events([event(name)])
            (flushed, _) = admin.execute_command("WAITAOF", 0, 0, 0)
            assert flushed >= 0
        assert admin.info("commandstats")["cmdstat_waitaof"]["calls"] >= 3
    assert ids(state) == ["a", "b", "c"]
    state.close()


def test_what_somebody_else_put_into_redis_is_an_error_and_no_crash(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start()
    state = RedisState(server.url)
    with redis.Redis.from_url(server.url) as admin:
        admin.set("{shortlist}:events:ann", "a text")
        admin.rpush("{shortlist}:events:bob", b"\xff", b"[1, 2]")
    with pytest.raises(StateUnavailable, match="refuses"):
        ids(state, "ann")
    with pytest.raises(StateUnavailable, match="did not store"):
        ids(state, "bob")
    state.close()
