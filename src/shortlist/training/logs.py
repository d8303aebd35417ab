"""What happened in each epoch, as records, a CSV file and TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from shortlist.errors import MissingExtraError, TrainingError
from shortlist.training.files import written_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EpochRecord", "Logs", "TrainingLog"]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's steps
    learning_rate: float  # of the last step
    seconds: float  # of training, without the validation
    examples_per_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the validation; empty where there was none


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """How a training run went. The network holds the weights of ``best_epoch``."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int  # from 1, so also the number of epochs that a fit without validation should take
    best_metric: float | None  # None: there was no validation, and the last epoch's weights stay
    stopped: Literal["patience", "epochs"]
    seconds: float  # training and validation, over all parts of a resumed run


class Logs:
    """Writes ``log.csv`` and, if asked for, ``tensorboard/`` in a run's folder; without a folder it writes nothing.

    ``records`` are the epochs of the part of a resumed run that came before: they are not doubled.
    """

    def __init__(self, run_dir: Path | None, *, tensorboard: bool, records: Sequence[EpochRecord]) -> None:
        self._path = None if run_dir is None else run_dir / "log.csv"
        self._events: SummaryWriter | None = None
        if tensorboard:
            if run_dir is None:
                raise TrainingError("training.tensorboard is true, but there is no run_dir to write to. Give one.")
            self._events = _open_events(run_dir / "tensorboard", first_epoch=len(records) + 1)
        self._write_csv(records)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            self._events.close()

    def write(self, records: Sequence[EpochRecord], /) -> None:
        """Note the last of ``records``, which are all epochs so far."""
        self._write_csv(records)
        if self._events is not None:
            last = records[-1]
            for name in ("loss", "learning_rate", "examples_per_s"):
                self._events.add_scalar(f"training/{name}", getattr(last, name), last.epoch)
            for name, value in last.metrics.items():
                self._events.add_scalar(f"validation/{name}", value, last.epoch)
            self._events.flush()

    def _write_csv(self, records: Sequence[EpochRecord]) -> None:
        """Write all rows anew: a few kB, and neither a kill nor a resume can leave half a row or two of one epoch."""
        if self._path is None:
            return
        metrics = _in_order(name for record in records for name in record.metrics)
        own = ("epoch", "loss", "learning_rate", "seconds", "examples_per_s")
        with written_whole(self._path) as path, path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*own, *metrics])
            for record in records:
                cells = [getattr(record, name) for name in own]
                rows.writerow([*cells, *(record.metrics.get(name, "") for name in metrics)])


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _open_events(folder: Path, *, first_epoch: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "training.tensorboard is true, but the library tensorboard is not installed. "
            'Install it with: pip install "shortlist[tensorboard]"'
        ) from error
    # Events from first_epoch on that a killed run left are hidden by the new ones.
    return SummaryWriter(str(folder), purge_step=first_epoch)
