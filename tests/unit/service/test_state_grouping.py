"""Which calls are written together, and what each is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from shortlist.errors import StateFull, StateUnavailable
from shortlist.service.state import Appended, StoredEvent
from shortlist.service.state.grouping import Grouping


class Slow:
    """Writes that wait to be let go on; remembers the groups."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_go_on = threading.Semaphore(0)
        self.error: BaseException | None = None

    def __call__(self, group: Sequence[Sequence[StoredEvent]]) -> list[Appended]:
        self.groups.append([event.event_id for events in group for event in events])
        self.may_go_on.acquire()
        if self.error is not None:
            raise self.error
        return [Appended(len(events), len(self.groups)) for events in group]


def events(*names: str) -> list[StoredEvent]:
    return [StoredEvent(name, "ann", "tea", None, 1.0) for name in names]


class Caller(threading.Thread):
    """Appends in a thread of its own; when this is made, the call is being written, or waits because another is."""

    def __init__(self, grouping: Grouping, *names: str) -> None:
        super().__init__(daemon=True)
        self.grouping, self.events = grouping, events(*names)
        self.outcome: Appended | BaseException | None = None
        others_write = grouping._is_writing
        self.start()
        until = time.monotonic() + 10
        while not (self.is_being_written() or (others_write and self.waits())):
            assert time.monotonic() < until
            time.sleep(0.001)

    def is_being_written(self) -> bool:
        write = self.grouping._write
        assert isinstance(write, Slow)
        return any(self.events[0].event_id in group for group in write.groups)

    def waits(self) -> bool:
        return any(call.events is self.events for call in tuple(self.grouping._waiting))

    def run(self) -> None:
        try:
            self.outcome = self.grouping.append(self.events)
        except BaseException as error:
            self.outcome = error


def outcomes(callers: Sequence[Caller]) -> list[Appended | BaseException | None]:
    for caller in callers:
        caller.join(timeout=10)
    return [caller.outcome for caller in callers]


def test_who_comes_alone_is_written_alone() -> None:
    write = Slow()
    write.may_go_on.release()
    assert Grouping(write).append(events("a", "b")) == Appended(2, 1)
    assert write.groups == [["a", "b"]]


def test_who_waits_is_written_with_the_next_and_each_gets_its_own_outcome() -> None:
    write = Slow()
    grouping = Grouping(write)
    callers = [Caller(grouping, "a"), Caller(grouping, "b", "c"), Caller(grouping, "d")]
    assert write.groups == [["a"]]
    write.may_go_on.release(2)
    assert outcomes(callers) == [Appended(1, 1), Appended(2, 2), Appended(1, 2)]
    assert write.groups == [["a"], ["b", "c", "d"]]


def test_a_group_does_not_grow_beyond_bounds_and_the_rest_comes_next() -> None:
    write = Slow()
    grouping = Grouping(write)
    many = [[f"{name}{number}" for number in range(1_500)] for name in "mn"]
    callers = [Caller(grouping, "a"), Caller(grouping, *many[0]), Caller(grouping, *many[1]), Caller(grouping, "z")]
    write.may_go_on.release(3)
    assert outcomes(callers) == [Appended(1, 1), Appended(1_500, 2), Appended(1_500, 3), Appended(1, 3)]


def test_a_call_of_any_size_is_written_whole() -> None:
    write = Slow()
    write.may_go_on.release()
    names = [str(number) for number in range(5_000)]
    assert Grouping(write).append(events(*names)) == Appended(5_000, 1)
    assert write.groups == [names]


def test_an_error_is_told_to_all_of_the_group_and_the_next_group_is_written() -> None:
    write = Slow()
    grouping = Grouping(write)
    callers = [Caller(grouping, "a")]
    write.error = StateFull("no room")
    callers += [Caller(grouping, "b"), Caller(grouping, "c")]
    write.may_go_on.release()
    callers[0].join(timeout=10)
    until = time.monotonic() + 10
    while write.groups != [["a"], ["b", "c"]]:  # now the second group is complete
        assert time.monotonic() < until
        time.sleep(0.001)
    late = Caller(grouping, "d")
    write.may_go_on.release()
    told = outcomes(callers)
    assert [(type(error), str(error)) for error in told] == [(StateFull, "no room")] * 3
    assert len({id(error) for error in told}) == 3
    write.error = None
    write.may_go_on.release()
    assert outcomes([late]) == [Appended(1, 3)]


def test_an_interrupted_writer_leaves_nobody_waiting() -> None:
    write = Slow()
    grouping = Grouping(write)
    callers = [Caller(grouping, "a"), Caller(grouping, "b"), Caller(grouping, "c")]
    write.may_go_on.release()
    callers[0].join(timeout=10)
    write.error = SystemExit(3)
    write.may_go_on.release()
    (_, writer, other) = outcomes(callers)
    assert isinstance(writer, SystemExit)
    assert isinstance(other, StateUnavailable)
    write.error = None
    write.may_go_on.release()
    assert grouping.append(events("d")) == Appended(1, 3)


def test_calls_from_many_threads_are_each_written_once() -> None:
    rounds = 200
    seen: list[str] = []

    def write(group: Sequence[Sequence[StoredEvent]]) -> list[Appended]:
        seen.extend(event.event_id for events in group for event in events)
        time.sleep(0.0001)
        return [Appended(len(events), 0) for events in group]

    grouping = Grouping(write)

    def run(thread: int) -> None:
        for number in range(rounds):
            assert grouping.append(events(f"{thread}-{number}")) == Appended(1, 0)

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 8 * rounds
    for number in range(8):
        assert [name for name in seen if name.startswith(f"{number}-")] == [f"{number}-{n}" for n in range(rounds)]


def test_an_error_that_is_not_the_stores_is_passed_on() -> None:
    def write(group: Sequence[Sequence[StoredEvent]]) -> list[Appended]:
        raise KeyError("a bug")

    grouping = Grouping(write)
    for _ in range(2):
        with pytest.raises(KeyError, match="a bug"):
            grouping.append(events("a"))
