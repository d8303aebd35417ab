"""A timestamp column to whole numbers that sort, and to seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from shortlist.errors import DataError

UNITS = (
    ("seconds", 1, 10**11),
    ("milliseconds", 10**3, 10**14),
    ("microseconds", 10**6, 10**17),
    ("nanoseconds", 10**9, 2**63),
)
CLOCKS = ("%H:%M:%S", "%H:%M:%S%.f", "%H:%M:%S%.f%#z", "%H:%M")
FORMATS = ("%Y-%m-%d", *(f"%Y-%m-%d{between}{clock}" for clock in CLOCKS for between in "T "))
FIRST_DAY, LAST_DAY = 1900_01_01, 2100_12_31  # whole numbers that may be dates: as seconds they would all lie in 1970


@dataclass(frozen=True, slots=True)
class Times:
    """When events happened, as fine as the file says it: ``ticks`` (E,) of an integer type, ``per_second`` of them a second."""

    ticks: pl.Series
    per_second: int
    notes: tuple[str, ...] = ()


def read_times(column: pl.Series, *, where: str) -> Times:
    """Read numbers (seconds, milli-, micro- or nanoseconds since 1970, told apart by their size), ISO 8601 text or dates.

    Times without a zone count as UTC. Empty, unparsable and negative values are a :class:`DataError` that names the
    first row, counted from 1.

    >>> read_times(pl.Series(["1970-01-02", "1970-01-01T01:00:01+01:00"]), where="events").ticks.to_list()
    [86400000000, 1000000]
    """
    kind = column.dtype
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        column = _plain_text(column)
    _refuse(column, column.is_null(), where, "is empty")
    if column.dtype == pl.String and column.str.contains(r"^[+-]?\d+(\.\d*)?$").all():
        whole = not column.str.contains(".", literal=True).any()
        column = column.cast(pl.Int64 if whole else pl.Float64)
    if column.dtype.is_numeric():
        times = _from_numbers(column, where)
    elif column.dtype == pl.String:
        times = Times(_from_text(column, where), 10**6)
    elif column.dtype in (pl.Date, pl.Datetime):
        times = Times(column.cast(pl.Datetime("us")).dt.epoch("us"), 10**6)
    else:
        raise DataError(
            f"{where}: column {column.name!r} holds {kind}, not times. Give numbers, ISO 8601 text or dates."
        )
    _refuse(column, times.ticks < 0, where, "is before 1970")
    return times


def _from_numbers(column: pl.Series, where: str) -> Times:
    if column.dtype.is_float():
        _refuse(column, ~column.is_finite(), where, "is not a time")
    elif _are_dates(column):
        note = f"{where}: {column.name} is read as dates, such as {column[0]}"
        return Times(column.cast(pl.String).str.to_datetime("%Y%m%d", time_unit="us").dt.epoch("us"), 10**6, (note,))
    size: Any = max(column.max(), -column.min())  # type: ignore[type-var, operator]  # they are numbers
    unit, per_second, _ = next((unit for unit in UNITS if size < unit[2]), UNITS[-1])
    notes = () if per_second == 1 else (f"{where}: {column.name} is read as {unit} since 1970",)
    if column.dtype.is_float() and per_second < 10**6:
        return Times((column * (10**6 // per_second)).floor().cast(pl.Int64), 10**6, notes)
    return Times(column, per_second, notes)


def _are_dates(column: pl.Series) -> bool:
    if not len(column) or not column.is_between(FIRST_DAY, LAST_DAY).all():
        return False
    return column.cast(pl.String).str.to_date("%Y%m%d", strict=False).null_count() == 0


def _plain_text(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _from_text(column: pl.Series, where: str) -> pl.Series:
    text = column.str.replace_all("/", "-", literal=True) if column.str.contains("/", literal=True).any() else column
    start = text.head(100)
    likely_first = sorted(FORMATS, key=lambda pattern: _parse(start, pattern).null_count())
    found = _parse(text, likely_first[0])
    for pattern in likely_first[1:]:
        rest = found.is_null().arg_true()
        if not len(rest):
            break
        found = found.scatter(rest, _parse(text.gather(rest), pattern))
    _refuse(column, found.is_null(), where, "is not a time")
    return found


def _parse(text: pl.Series, pattern: str) -> pl.Series:
    """Microseconds since 1970 where ``text`` has this format, else null."""
    return text.str.to_datetime(pattern, strict=False, time_unit="us").dt.epoch("us")


def _refuse(column: pl.Series, bad: pl.Series, where: str, complaint: str) -> None:
    count = int(bad.sum())
    if not count:
        return
    row = bad.arg_max()
    assert row is not None
    raise DataError(
        f"{where}: {column.name} {complaint} in row {row + 1}: {column[row]!r} ({count} such rows of {len(column)}). "
        "Give seconds since 1970 or ISO 8601 text (2024-01-31T12:00:00), or drop these rows first."
    )
