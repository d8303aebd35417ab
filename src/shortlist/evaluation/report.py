"""What an evaluation found, to a table for people, a file for machines, or a frame."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError, SettingsError, nearest
from shortlist.evaluation.diagnosis import Diagnosis
from shortlist.evaluation.metrics import parse
from shortlist.evaluation.page import to_html
from shortlist.evaluation.records import plain, rebuilt
from shortlist.evaluation.report_text import to_text

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's mean over users with its 95 % bootstrap interval (None where there is none)."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the funnel: how many held-out items it still holds, and how good its list is.

    ``recall`` is the mean share of a user's held-out items, ``ndcg`` that of the first k of a list (None: it has no
    order). Both count what is not in the catalogue, or is kept out by a filter, as lost.
    """

    name: str  # held out, catalogue, allowed, exact, retrieved, filtered, unranked or ranked
    meaning: str
    targets: int
    recall: Estimate
    ndcg: Estimate | None = None
    slots: int | None = None  # of the list: C candidates, or k
    size: float | None = None  # how many of them hold an item, on average
    ms: float | None = None  # a request, in the batches given


@dataclass(frozen=True, slots=True)
class Segment:
    """The metrics of a part of the users (``of = "users"``), or over a part of the targets (``of = "items"``)."""

    of: str
    name: str
    meaning: str
    num_users: int
    metrics: tuple[Estimate, ...]
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The result of an evaluation.

    ``per_user`` holds one value per user and metric, in the order of ``users`` (their indices, or running numbers where
    the requests name none), so that :func:`~shortlist.evaluation.compare` can pair two reports, and ``per_stage`` the same
    for ``STAGE/recall`` and ``STAGE/ndcg``; ``target_keys`` tells apart what the users were asked for. ``unit`` says what a
    row is: ``users``, ``requests`` where one is asked several times, or ``rows`` for predictions.
    """

    metrics: tuple[Estimate, ...]
    num_users: int
    protocol: str
    segments: tuple[Segment, ...] = ()
    stages: tuple[Stage, ...] = ()
    stage_notes: tuple[str, ...] = ()  # which stages coincide or were not measured
    ms_per_step: Mapping[str, float] = field(default_factory=dict)  # of a request, in the batches given
    notes: tuple[str, ...] = ()  # what was left out, merged or could not be found, with counts
    seconds: float = 0.0  # the whole evaluation
    ms_per_request: float | None = None  # the shortlists alone, in the batches given
    unit: str = "users"
    diagnosis: Diagnosis | None = None
    per_user: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)
    per_stage: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)
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
        return {name: plain(getattr(self, name)) for name in _kinds()}

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
            content = {"format": FORMAT, **self.to_dict()}
            for name in ("per_user", "per_stage"):
                content[name] = {key: plain(values.tolist()) for key, values in getattr(self, name).items()}
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
            known: dict[str, Any] = {name: rebuilt(kind, content[name]) for name, kind in _kinds().items()}
            for name in ("per_user", "per_stage"):
                known[name] = {key: np.array(values, dtype=np.float64) for key, values in content[name].items()}
            for name in ("users", "target_keys"):
                known[name] = np.array(content[name], dtype=np.int64)
            return cls(**known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a saved report ({error}). Give a .json file that Report.save wrote."
            ) from error


def _kinds() -> dict[str, Any]:
    """The types of the fields that are no arrays."""
    arrays = ("per_user", "per_stage", "users", "target_keys")
    return {name: kind for name, kind in get_type_hints(Report).items() if name not in arrays}


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
