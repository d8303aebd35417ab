"""A recipe's files to its training, validation and test parts, and to what each test event is ranked among."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from shortlist.data import Dataset, read_dataset, read_later, split_last_out, split_random, split_sessions
from shortlist.errors import DataError, SettingsError
from shortlist.features import running_total
from shortlist.reproduce.recipe import Recipe, Source


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a recipe's data. ``whole`` is all but the test part; ``negatives`` (R, N) belong to the test's rows."""

    train: Dataset
    valid: Dataset
    test: Dataset
    whole: Dataset
    negatives: Tensor | None = None


def read_parts(recipe: Recipe, folder: Path) -> Parts:
    """Read and split the data of ``recipe`` as its protocol says."""
    source, protocol = recipe.data, recipe.protocol
    if protocol.split == "files":
        return _of_files(source, folder, protocol.valid)
    if protocol.split == "sessions":
        return _of_sessions(source, folder, protocol.valid)
    if source.test is None:
        dataset = read_dataset(
            folder / source.events,
            format=source.format,
            schema=_schema(source),
            min_item_events=source.min_item_events,
            items=_path(folder, source.items),
            users=_path(folder, source.users),
        )
    else:
        dataset = _with_last(folder / source.events, folder / source.test)
    train, valid, test = split_last_out(dataset)
    negatives = None if source.negatives is None else _negatives(folder / source.negatives, dataset)
    return Parts(train, valid, test, test.before(), negatives)


def _of_files(source: Source, folder: Path, share: float) -> Parts:
    if source.test is None:
        raise SettingsError("protocol.split = 'files' needs data.test, the file of the rows to be tested on.")
    train = read_dataset(
        folder / source.events,
        format=source.format,
        schema=_schema(source),
        items=_path(folder, source.items),
        users=_path(folder, source.users),
    )
    test = read_later(folder / source.test, train, format=source.format)
    if source.valid is None:
        part, _, valid = split_random(train, valid=0, test=share)
        return Parts(part, valid, test, train)
    valid = read_later(folder / source.valid, train, format=source.format)
    return Parts(train, valid, test, _all_own(valid))


def _path(folder: Path, file: str | None) -> Path | None:
    return None if file is None else folder / file


def _schema(source: Source) -> dict[str, Any] | None:
    """The overrides; empty text stands for what TOML cannot write, that the data has no such column."""
    return {name: None if value == "" else value for name, value in source.schema.items()} or None


def _all_own(part: Dataset) -> Dataset:
    """The same with its known history as its own events too."""
    return part.without_rows(torch.zeros(part.events.num_rows, dtype=torch.bool))


def _of_sessions(source: Source, folder: Path, share: float) -> Parts:
    if source.test is None:
        raise SettingsError("protocol.split = 'sessions' needs data.test, a file with the sessions to be tested on.")
    train_sessions, test_sessions = _lines(folder / source.events), _whole(_lines(folder / source.test))
    sessions = [*train_sessions, *test_sessions]
    frame = pl.DataFrame({"session_id": range(len(sessions)), "item_id": sessions}).explode("item_id")
    dataset = read_dataset(frame.with_columns(pl.col("item_id").cast(pl.Int64)), schema={"sequence": "session"})
    num_test = len(test_sessions)
    train, valid, test = split_sessions(dataset, valid=round(share * len(train_sessions)), test=num_test)
    whole, _, _ = split_sessions(dataset, valid=0, test=num_test)
    return Parts(train, valid, test, whole)


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in _text(path).splitlines()]


def _text(path: Path) -> str:
    return _existing(path).read_text(encoding="utf-8")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"There is no file {path}. --data is the folder that holds the data sets.")
    return path


def _whole(examples: list[list[str]]) -> list[list[str]]:
    """Sessions from a file of all their prefixes, the longest first: what continues the line before is no new session."""
    return [line for line, before in zip(examples, [[], *examples], strict=False) if line != before[: len(line)]]


def _with_last(events: Path, last: Path) -> Dataset:
    """NCF's files: lines of user, item, rating and time, and another with each user's last event."""
    names = ["user_id", "item_id", "rating", "order"]
    frames = [
        pl.read_csv(_existing(path), separator="\t", has_header=False, new_columns=names) for path in (events, last)
    ]
    known = frames[0].sort("user_id", "order", maintain_order=True)
    return read_dataset(pl.concat([known, frames[1]]).select("user_id", "item_id"))


def _negatives(path: Path, dataset: Dataset) -> Tensor:
    """The items (R, N) listed for each row's test event: lines of (user,item) and the items."""
    rows = [[int(number) for number in re.findall(r"\d+", line)] for line in _text(path).splitlines()]
    users = torch.from_numpy(dataset.encoders.users.encode([row[0] for row in rows])).long()
    lengths = torch.tensor([len(row) - 2 for row in rows])
    items = torch.from_numpy(dataset.encoders.items.encode([item for row in rows for item in row[2:]])).long()
    table = torch.zeros(dataset.events.num_rows, int(lengths.max()), dtype=torch.int64)
    offsets = running_total(lengths)
    row = torch.repeat_interleave(users, lengths)
    table[row, torch.arange(len(items)) - offsets[:-1].repeat_interleave(lengths)] = items
    return table
