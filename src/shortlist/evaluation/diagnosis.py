"""What was looked at beyond the figures, to say where and why a funnel loses quality: one record for each plot of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shortlist.contracts import SearchSpeed


@dataclass(frozen=True, slots=True)
class DepthCurve:
    """The share of held-out items among so many candidates, by exact search and by the index that serves."""

    sizes: tuple[int, ...]
    exact: tuple[float, ...]
    served: tuple[float, ...] | None  # None: it serves by exact search
    candidates: int  # C, how many it serves with
    num_requests: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predictions in groups of about equal size, by what was predicted, beside what came true."""

    of: str  # what is predicted, and of what
    predicted: tuple[float, ...]  # mean of each group
    observed: tuple[float, ...]
    low: tuple[float, ...]  # 95 % interval of what was observed (Wilson, 1927)
    high: tuple[float, ...]
    num_predictions: int
    mean_predicted: float
    mean_observed: float
    error: float  # mean distance of predicted and observed, by the groups' size (ECE)


@dataclass(frozen=True, slots=True)
class PopularityBias:
    """How recommendations, held-out events and training events are spread over the items, from popular to unpopular.

    A decile is a tenth of the catalogue, the items with most training events first. The Gini coefficient is 0 where all
    items have equally many, and nears 1 where one has all.
    """

    k: int
    shown: tuple[float, ...]  # share of the recommendations in each decile
    held_out: tuple[float, ...]
    training: tuple[float, ...]
    coverage: float  # share of the catalogue that anyone was shown
    gini_shown: float
    gini_held_out: float


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """What each epoch of one part's training came to."""

    part: str
    model: str
    loss: tuple[float, ...]
    metric: str | None
    values: tuple[float, ...]  # of the metric on the validation part; NaN where there was none
    best_epoch: int  # from 1: the weights that were kept
    seconds: float


@dataclass(frozen=True, slots=True)
class ItemMap:
    """Item vectors on the plane in which they differ most; each item with its place, group and title."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    group: tuple[int, ...]
    titles: tuple[str, ...]
    groups: tuple[str, ...]
    by: str  # what the groups are
    share: float  # of the variance, what the plane shows
    num_items: int  # of the catalogue; the map has the most popular of them


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a list: whether it was held out, and how many places re-ranking moved it up."""

    title: str
    is_hit: bool
    moved: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A user's history, the lists before and after re-ranking, and what became of each held-out item."""

    user: str
    segment: str
    history: tuple[str, ...]  # the newest first
    num_known: int
    before: tuple[Listed, ...]
    after: tuple[Listed, ...] | None  # None: no re-ranking
    held_out: tuple[tuple[str, str], ...]  # title, and where it was lost or found
    num_held_out: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it. Where a part is None or empty, ``reasons`` says why, by its name."""

    facts: Mapping[str, str] = field(default_factory=dict)  # what the funnel is made of
    depth: DepthCurve | None = None
    speed: tuple[SearchSpeed, ...] = ()
    speed_k: int = 0
    reliability: Reliability | None = None
    popularity: PopularityBias | None = None
    training: tuple[TrainingCurve, ...] = ()
    items: ItemMap | None = None
    examples: tuple[Example, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
