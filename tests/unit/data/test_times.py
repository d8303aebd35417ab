from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from shortlist.data.times import read_times
from shortlist.errors import DataError

NOON = int(datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp())


def seconds(values, **kind):
    times = read_times(pl.Series("time", values, **kind), where="events.csv")
    return [tick / times.per_second for tick in times.ticks.to_list()]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, NOON),
        (NOON * 1000 + 7, NOON + 0.007),
        (NOON * 10**6, NOON),
        (NOON * 10**9, NOON),
        (NOON + 0.5, NOON + 0.5),
        (NOON * 1000.0, NOON),
        (str(NOON), NOON),
        ("2024-01-31T12:00:00", NOON),
        ("2024-01-31 12:00:00", NOON),
        ("2024-01-31T12:00:00.250", NOON + 0.25),
        ("2024-01-31T12:00:00Z", NOON),
        ("2024-01-31T14:00:00+02:00", NOON),
        ("2024-01-31 12:00", NOON),
        ("2024-01-31", NOON - 43_200),
        ("2024/01/31", NOON - 43_200),
        (20240131, NOON - 43_200),
        (date(2024, 1, 31), NOON - 43_200),
        (datetime(2024, 1, 31, 12), NOON),
        (datetime(2024, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), NOON),
        (0, 0),
    ],
)
def test_each_way_to_write_a_time_gives_seconds_since_1970_in_utc(value, expected):
    assert seconds([value]) == [expected]


def test_text_may_mix_formats_row_by_row():
    assert seconds(["2024-01-31T12:00:00", "2024-01-31 12:00:00Z", "2024-01-31"]) == [NOON, NOON, NOON - 43_200]


def test_units_other_than_seconds_and_whole_numbers_as_dates_are_noted():
    assert read_times(pl.Series("ts", [NOON * 1000]), where="a.csv").notes == (
        "a.csv: ts is read as milliseconds since 1970",
    )
    assert read_times(pl.Series("ts", [20240131]), where="a.csv").notes == (
        "a.csv: ts is read as dates, such as 20240131",
    )
    assert read_times(pl.Series("ts", [NOON]), where="a.csv").notes == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [5, -3, -4],
            r"events\.csv: time is before 1970 in row 2: -3 \(2 such rows of 3\)\. Give seconds since 1970 or ISO",
        ),
        (["1969-12-31"], r"time is before 1970 in row 1: '1969-12-31'"),
        (["2024-01-31", "soon"], r"time is not a time in row 2: 'soon' \(1 such rows of 2\)"),
        (["31.01.2024"], r"time is not a time in row 1: '31\.01\.2024'"),
        (["2024-02-30"], r"time is not a time in row 1: '2024-02-30'"),
        ([1.0, float("nan")], r"time is not a time in row 2: nan"),
        ([7, None], r"time is empty in row 2: None .* or drop these rows first"),
        (["2024-01-31", " "], r"time is empty in row 2"),
        ([True], r"column 'time' holds Boolean, not times"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row_and_value(values, message):
    with pytest.raises(DataError, match=message):
        seconds(values)
