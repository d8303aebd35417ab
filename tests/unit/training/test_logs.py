from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shortlist.errors import MissingExtraError
from shortlist.training import Training, train
from shortlist.training.logs import EpochRecord, Logs
from shortlist.training.progress import ProgressLine

Make = Callable[..., Any]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_one_row_for_each_epoch_with_its_numbers(line: Make, batches: Make, tmp_path: Path) -> None:
    values = iter([0.25, 0.5])
    settings = Training(epochs=3, learning_rate=0.01, validate_every=2)
    log = train(
        line(),
        batches(),
        settings=settings,
        validate=lambda: {"ndcg@10": next(values), "recall@10": 0.1},
        run_dir=tmp_path,
    )
    rows = _rows(tmp_path)
    assert list(rows[0]) == ["epoch", "loss", "learning_rate", "seconds", "examples_per_s", "ndcg@10", "recall@10"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["ndcg@10"] for row in rows] == ["", "0.25", "0.5"]
    assert [float(row["loss"]) for row in rows] == [record.loss for record in log.epochs]


def test_the_csv_of_a_resumed_run_has_no_row_twice(line: Make, batches: Make, tmp_path: Path) -> None:
    settings = Training(epochs=4, learning_rate=0.01)
    calls = iter(range(100))

    def dies_at_the_third() -> dict[str, float]:
        if next(calls) == 2:
            raise ConnectionError
        return {"ndcg@10": 0.5}

    with pytest.raises(ConnectionError):
        train(line(), batches(), settings=settings, validate=dies_at_the_third, run_dir=tmp_path)
    assert [row["epoch"] for row in _rows(tmp_path)] == ["1", "2"]
    # Killed after the row was written and before the checkpoint: the row is of an epoch that will be repeated.
    with (tmp_path / "log.csv").open("a") as file:
        file.write("3,9.9,0.01,1.0,1.0,0.5\r\n")
    train(line(), batches(), settings=settings, validate=dies_at_the_third, run_dir=tmp_path)
    assert [row["epoch"] for row in _rows(tmp_path)] == ["1", "2", "3", "4"]
    assert "9.9" not in [row["loss"] for row in _rows(tmp_path)]


def test_tensorboard_events_hold_losses_and_metrics(line: Make, batches: Make, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = Training(epochs=2, learning_rate=0.01, tensorboard=True)
    log = train(line(), batches(), settings=settings, validate=lambda: {"ndcg@10": 0.5}, run_dir=tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert losses == [(record.epoch, pytest.approx(record.loss)) for record in log.epochs]
    assert [event.value for event in events.Scalars("validation/ndcg@10")] == [0.5, 0.5]


def test_events_of_a_repeated_epoch_are_purged(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first, second, again = (EpochRecord(epoch, loss, 0.1, 1.0, 1.0) for epoch, loss in ((1, 8.0), (2, 4.0), (2, 3.0)))
    with Logs(tmp_path, tensorboard=True, records=[]) as logs:
        logs.write([first])
        logs.write([first, second])
    with Logs(tmp_path, tensorboard=True, records=[first]) as logs:
        logs.write([first, again])
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("training/loss")] == [(1, 8.0), (2, 3.0)]


def test_a_missing_tensorboard_is_an_error_with_the_command(
    line: Make, batches: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "shortlist\[tensorboard\]"'):
        train(line(), batches(), settings=Training(epochs=1, learning_rate=0.1, tensorboard=True), run_dir=tmp_path)


def _drawn(*, terminal: bool, show: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    with ProgressLine(show=show, epochs=7, num_steps=10, console=console) as line:
        line.step(epoch=2, step=10, loss=0.125, examples_per_s=4321.0)
        line.validated(metric="ndcg@10", value=0.25, best=0.5, best_epoch=1)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_epoch_steps_loss_speed_and_metric() -> None:
    drawn = _drawn(terminal=True, show=True)
    for part in ("epoch 2/7", "10/10", "loss 0.1250", "4,321 examples/s", "ndcg@10 0.2500 (best 0.5000, epoch 1)"):
        assert part in drawn


def test_nothing_is_drawn_elsewhere_or_unasked() -> None:
    assert _drawn(terminal=False, show=True) == ""
    assert _drawn(terminal=True, show=False) == ""


def test_training_without_a_terminal_prints_nothing(
    line: Make, batches: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    train(line(), batches(), settings=replace(Training(), epochs=1, learning_rate=0.1), show=True)
    assert capfd.readouterr() == ("", "")
