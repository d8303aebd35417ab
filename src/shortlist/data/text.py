"""Delimited text files to lazy frames: encoding, separator, header line and types are found out, and noted."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from shortlist.errors import DataError

SEPARATORS = (",", "\t", ";", "|")
SAMPLE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
SNIFFED_LINES = 200
TYPED_ROWS = 10_000  # rows that decide the column types; later ones that do not fit cause a second reading
LARGEST_RATING = 100  # in a file without names, a third column up to this holds ratings …
EARLIEST_TIME = 100_000_000  # … and one from this on holds timestamps (1973)


Types = Mapping[str, pl.DataType | type[pl.DataType]]
Read = Callable[
    [Sequence[str], Types | None], pl.DataFrame
]  # some columns, with other types; None: ones that fit every row


@dataclass(frozen=True, slots=True)
class TextScan:
    """The rows of a text file, a way to read some columns in little memory, and what was guessed."""

    rows: pl.LazyFrame
    read: Read
    notes: tuple[str, ...]


def scan_text(path: Path) -> TextScan:
    """Read separated text lazily; UTF-8 unless it cannot be, then Latin-1."""
    source, encoding, has_quotes = text_source(path)
    notes = [] if encoding == "utf-8" else [f"{path.name}: read as {encoding}, because it is not UTF-8"]
    sample = _sample(source)  # types are found in it: the reader would take in the whole file for them
    lines = [line for line in sample.decode("utf-8-sig").splitlines()[:SNIFFED_LINES] if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty. Give a file with a header line and one line for each row.")
    separator = sniff_separator(lines)
    quote = _quote(sample, separator) if has_quotes else None
    first = [field.strip().strip('"') for field in lines[0].split(separator)]
    scan = partial(pl.scan_csv, separator=separator, quote_char=quote)
    headless = all(_is_number(field) for field in first)
    if headless:
        names = _names_without_header(path, [line.split(separator) for line in lines])
        notes.append(f"{path.name}: no header line; the columns are taken as {', '.join(names)}")
        scan = partial(scan, has_header=False, new_columns=names)
    strings = scan(sample, infer_schema=False, n_rows=1000).collect()
    types = dict(scan(sample, infer_schema_length=TYPED_ROWS).collect_schema())
    for name, kind in types.items():
        zero_led = strings[name].filter(strings[name].str.contains(r"^0\d"))
        if kind.is_integer() and len(zero_led):
            types[name] = pl.String()
            notes.append(
                f"{path.name}: {name} is read as text, because values such as {zero_led[0]!r} would lose their zeros"
            )
    kept_as_text = {name: pl.String for name, kind in types.items() if kind == pl.String}

    in_blocks = not has_quotes and sample[:1].strip() != b""

    def read(columns: Sequence[str], wanted: Types | None) -> pl.DataFrame:
        if wanted is None:
            return (
                scan(source, infer_schema_length=None, schema_overrides=kept_as_text)
                .select(columns)
                .collect(engine="streaming")
            )
        schema = {**types, **wanted}
        if not in_blocks:
            return scan(source, schema=schema).select(columns).collect(engine="streaming")
        frames = []
        for number, block in enumerate(_blocks(source)):
            with_header = number == 0 and not headless
            rows = pl.scan_csv(block, separator=separator, quote_char=None, has_header=with_header, schema=schema)
            frames.append(rows.select(columns).collect(engine="streaming"))
        return pl.concat(frames, rechunk=False)

    return TextScan(scan(source, schema=types), read, tuple(notes))


def text_source(path: Path) -> tuple[Path | bytes, str, bool]:
    """What a CSV reader can take for ``path`` (itself, or its contents as UTF-8), its encoding, and if it has quotes."""
    with path.open("rb") as file:
        start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            return _as_utf8(gzip.decompress(start + file.read()))
        if start[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            decoder = codecs.getincrementaldecoder("utf-8")()
            has_quotes = b'"' in start
            try:
                decoder.decode(start)
                while block := file.read(BLOCK_BYTES):
                    has_quotes = has_quotes or b'"' in block
                    decoder.decode(block)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                pass
            else:
                return path, "utf-8", has_quotes
    return _as_utf8(path.read_bytes())


def sniff_separator(lines: list[str]) -> str:
    """The separator that occurs equally often in all lines, or failing that the most often; outside quotes.

    >>> sniff_separator(["id|tags", "1|a,b", "2|c"])
    '|'
    >>> sniff_separator(["12 7", "12 9"])
    ' '
    """
    whole = re.sub(r'"[^"]*"', "", "\n".join(lines)).splitlines()  # quotes may span lines, or be part of the text
    for bare in ([re.sub(r'"[^"]*"', "", line) for line in lines], whole):
        counts = {separator: [line.count(separator) for line in bare] for separator in SEPARATORS}
        found = [separator for separator in SEPARATORS if min(counts[separator]) > 0]
        if found:
            return max(found, key=lambda separator: (len(set(counts[separator])) == 1, min(counts[separator])))
    words = [line.split(" ") for line in lines]
    is_table = len(words[0]) > 1 and len({len(fields) for fields in words}) == 1
    return " " if is_table and all(_is_number(field) for fields in words for field in fields) else ","


def _as_utf8(data: bytes) -> tuple[bytes, str, bool]:
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        encoding, text = "Latin-1", data.decode("latin-1")
    return text.encode(), encoding, '"' in text


def _blocks(source: Path | bytes) -> Iterator[bytes]:
    """The contents in pieces that end with a line: a reader of the whole would hold all of it in memory at once."""
    rest = b""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        while piece := file.read(BLOCK_BYTES):
            lines, newline, last = (rest + piece).rpartition(b"\n")
            rest = last
            if newline:
                yield lines + newline
    if rest.strip():
        yield rest


def _sample(source: Path | bytes) -> bytes:
    """The first lines, whole."""
    if isinstance(source, bytes):
        sample = source[:SAMPLE_BYTES]
    else:
        with source.open("rb") as file:
            sample = file.read(SAMPLE_BYTES)
    return sample if len(sample) < SAMPLE_BYTES or b"\n" not in sample else sample[: sample.rindex(b"\n") + 1]


def _quote(sample: bytes, separator: str) -> str | None:
    """The quote character, or None where quotes are part of the text: a field begins with one that never closes."""
    try:
        pl.scan_csv(sample, separator=separator, quote_char='"', infer_schema=False, n_rows=1000).collect()
    except pl.exceptions.ComputeError:
        return None
    return '"'


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _names_without_header(path: Path, rows: list[list[str]]) -> list[str]:
    num_columns = len(rows[0])
    if num_columns == 2:
        return ["user_id", "item_id"]
    if num_columns == 4:
        return ["user_id", "item_id", "rating", "timestamp"]
    if num_columns == 3:
        third = [float(row[2]) for row in rows if len(row) == 3 and _is_number(row[2])]
        if max(third) <= LARGEST_RATING:
            return ["user_id", "item_id", "rating"]
        if min(third) >= EARLIEST_TIME:
            return ["user_id", "item_id", "timestamp"]
        raise DataError(
            f"{path} has no header line and three columns, and the third ({rows[0][2]}, …) may be ratings or timestamps. "
            "Add a header line such as user_id,item_id,rating."
        )
    raise DataError(
        f"{path} has no header line and {num_columns} columns, so nothing says what they are. "
        "Add a header line such as user_id,item_id,rating,timestamp."
    )
