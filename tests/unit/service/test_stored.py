"""What a service has stored becomes a file that training reads."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import shortlist as sl
from shortlist.cli import app
from shortlist.errors import DataError
from shortlist.service.state import StoredEvent, open_state
from shortlist.service.stored import named_as, stored_events


def keep(folder: Path, *events: StoredEvent) -> None:
    folder.mkdir(exist_ok=True)
    state = open_state(f"sqlite:///{folder / 'state.db'}")
    state.append_events(events)
    state.close()


def test_events_come_by_time_those_without_one_at_the_time_of_storing(tmp_path: Path) -> None:
    keep(
        tmp_path,
        StoredEvent("e1", "7", "i1", None, 50.9),
        StoredEvent("e2", "7", "i2", None, 40.0),  # the clock was put back
        StoredEvent("e3", "12", "i3", 20, 60.0),
    )
    frame = stored_events(str(tmp_path))
    assert frame.rows() == [(12, "i3", 20, "e3"), (7, "i1", 50, "e1"), (7, "i2", 50, "e2")]
    assert frame.columns == ["user_id", "item_id", "timestamp", "event_id"]


def test_ids_are_numbers_only_where_they_come_back_as_they_were(tmp_path: Path) -> None:
    keep(tmp_path, StoredEvent("e1", "007", "12", 1, 1.0), StoredEvent("e2", "8", str(2**70), 2, 1.0))
    assert stored_events(str(tmp_path / "state.db")).schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "event_id": pl.String,
    }


def test_a_store_without_events_is_an_empty_frame(tmp_path: Path) -> None:
    keep(tmp_path)
    assert stored_events(f"sqlite:///{tmp_path / 'state.db'}").rows() == []


def test_the_command_writes_what_training_reads(tmp_path: Path) -> None:
    keep(tmp_path / "service", *(StoredEvent(f"e{n}", f"u{n % 5}", f"i{n % 7}", n, 1.0) for n in range(60)))
    done = CliRunner().invoke(app, ["events", str(tmp_path / "service"), "--out", str(tmp_path / "stored.parquet")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("60 events of 5 users are in ")
    dataset = sl.read_dataset(tmp_path / "stored.parquet")
    assert len(dataset.events) == 60
    assert dataset.schema.timestamp == "timestamp"


def test_columns_are_called_as_in_the_files_of_a_data_set(tmp_path: Path) -> None:
    keep(tmp_path, StoredEvent("e1", "7", "i1", 5, 5.0))
    schema = sl.Schema(item_id="film", user_id=None, session_id="visit", sequence="session", timestamp=None)
    assert named_as(stored_events(str(tmp_path)), schema).columns == ["visit", "film", "timestamp", "event_id"]


def test_where_there_is_no_store_none_is_made(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match="There are no stored events in"):
            stored_events(str(place))
    assert list(tmp_path.iterdir()) == []
