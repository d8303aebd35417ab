"""What an evaluation found, to a table for people, a file for machines, or a frame."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError, SettingsError, nearest
from shortlist.evaluation.metrics import parse
from shortlist.evaluation.report_html import to_html
from shortlist.evaluation.report_text import to_text

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's mean over users with its 95 % bootstrap interval (None where there is none)."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The metrics of a part of the users (``of = "users"``), or over a part of the targets (``of = "items"``)."""

    of: str
    name: str
    meaning: str
    num_users: int
    metrics: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """What one step of the funnel still holds: share of the targets, mean length of the list, NDCG where it is ordered."""

    name: str
    recall: float
    size: float
    ndcg: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The result of an evaluation.

    ``per_user`` holds one value per user and metric, in the order of ``users`` (their indices, or running numbers where
    the requests name none), so that :func:`~shortlist.evaluation.compare` can pair two reports; ``target_keys`` tells
    apart what the users were asked for. ``unit`` says what a row is: ``users``, ``requests`` where one is asked several times, or ``rows``
    for predictions.
    """

    metrics: tuple[Estimate, ...]
    num_users: int
    protocol: str
    segments: tuple[Segment, ...] = ()
    stages: tuple[Stage, ...] = ()
    stage_ndcg: str = ""  # the metric in the stages' last column, such as ndcg@20
    notes: tuple[str, ...] = ()  # what was left out, merged or could not be found, with counts
    seconds: float = 0.0  # the whole evaluation
    ms_per_request: float | None = None  # the shortlists alone, in the batches given
    unit: str = "users"
    per_user: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)
    users: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    target_keys: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    def __getitem__(self, metric: str) -> Estimate:
        """The estimate of a metric by its name; ``SettingsError`` if it was not measured."""
        known = {estimate.metric: estimate for estimate in self.metrics}
        name = metric if metric in known else str(parse(metric)) if "@" in metric else metric
        if name not in known:
            raise SettingsError(
                f"The report has no metric {metric!r}.{nearest(metric, known)} It has: {', '.join(known)}."
            )
        return known[name]

    def __str__(self) -> str:
        return to_text(self)

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays per user, ready for JSON: a figure that does not exist is None."""
        names = [
            entry.name for entry in dataclasses.fields(self) if entry.name not in ("per_user", "users", "target_keys")
        ]
        return {name: _plain(getattr(self, name)) for name in names}

    def to_frame(self) -> pl.DataFrame:
        """One row for each segment and metric: of, segment, num_users, metric, value, low, high."""
        import polars as pl

        schema = {"of": pl.String, "segment": pl.String, "num_users": pl.Int64, "metric": pl.String}
        figures = {"value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        parts = [("all", "all", self.num_users, self.metrics)]
        parts += [(segment.of, segment.name, segment.num_users, segment.metrics) for segment in self.segments]
        rows = [(*part[:3], *dataclasses.astuple(estimate)) for part in parts for estimate in part[3]]
        return pl.DataFrame(rows, schema={**schema, **figures}, orient="row")

    def save(self, path: str | Path) -> None:
        """Write a ``.json`` file, which :meth:`load` reads with the arrays per user, or an ``.html`` page to look at."""
        path = Path(path)
        if path.suffix == ".html":
            _write(path, to_html(self))
        elif path.suffix == ".json":
            arrays = {name: [_plain(value) for value in values.tolist()] for name, values in self.per_user.items()}
            content = {"format": FORMAT, **self.to_dict(), "per_user": arrays}
            content |= {"users": self.users.tolist(), "target_keys": self.target_keys.tolist()}
            _write(path, json.dumps(content, allow_nan=False))
        else:
            raise SettingsError(f"{path} does not end in .json or .html, the two kinds of report. Rename it.")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report that :meth:`save` wrote as JSON; ``DataError`` if the file is anything else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise DataError(
                    f"{path} is a report in a format this version does not know. Evaluate again, or update."
                )
            return cls._from_dict(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a saved report ({error}). Give a .json file that Report.save wrote."
            ) from error

    @classmethod
    def _from_dict(cls, content: dict[str, Any]) -> Report:
        segments = [{**part, "metrics": _estimates(part["metrics"])} for part in content.pop("segments")]
        return cls(
            metrics=_estimates(content.pop("metrics")),
            segments=tuple(Segment(**part) for part in segments),
            stages=tuple(Stage(**{**part, "recall": _number(part["recall"])}) for part in content.pop("stages")),
            notes=tuple(content.pop("notes")),
            per_user={name: np.array(values, dtype=np.float64) for name, values in content.pop("per_user").items()},
            users=np.array(content.pop("users"), dtype=np.int64),
            target_keys=np.array(content.pop("target_keys"), dtype=np.int64),
            **content,
        )


def estimate(metric: str, value: float, bounds: npt.NDArray[np.float64]) -> Estimate:
    """An estimate from its interval (2,), which is NaN where there is none."""
    low, high = (None if math.isnan(bound) else bound for bound in bounds.tolist())
    return Estimate(metric, value, low, high)


def _write(path: Path, text: str) -> None:
    """Write beside the file and rename, so that a full disk leaves the old file as it was."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written ({error}). Free some space or choose another folder.") from error


def _estimates(parts: list[dict[str, Any]]) -> tuple[Estimate, ...]:
    return tuple(Estimate(**{**part, "value": _number(part["value"])}) for part in parts)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    """Records to dicts, tuples to lists, NaN to None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
