"""Events to training batches of one target an example, with the history before it and negatives.

It knows no model. All of it is index arithmetic on flat arrays that lie in memory.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from shortlist.contracts import Examples, Requests, Sampling
from shortlist.data.batches import make_requests, mix, own_events, padded
from shortlist.data.dataset import Dataset
from shortlist.data.others import Others
from shortlist.data.sample import Positives, Sample, SharedSample, draw_negatives

TOGETHER = 8192  # examples that are looked up, and for which negatives are drawn, at once


class _Targets(NamedTuple):
    """Events to learn from (B,): where they stand among all, whose they are, of which items, and where their history ends."""

    own: Tensor
    rows: Tensor
    items: Tensor
    stops: Tensor
    negatives: Tensor | None  # (B, 1, N)

    def take(self, which: slice | Tensor) -> _Targets:
        return _Targets(*(None if each is None else each[which] for each in self))  # type: ignore[arg-type]


class PairBatches:
    """One target an example: a liked event with the history before it and negatives, or a rated or labelled one.

    The order of an epoch depends on (seed, epoch), the negatives on (seed, epoch, step) and the batch size: see :class:`Batches`.
    """

    def __init__(self, dataset: Dataset, sampling: Sampling, *, batch_size: int, seed: int) -> None:
        liked = dataset.positives()
        source = liked if sampling.kind == "pairs" else dataset
        self.dataset, self.sampling, self.batch_size, self.seed = source, sampling, batch_size, seed
        events, self._known = source.events, liked.events
        self._own, self._stops = own_events(source)
        self._rows, self._items = events.rows()[self._own], events.items[self._own]
        self._positives = Positives(events) if sampling.kind == "pairs" else None
        self._shared: SharedSample | None = None
        if sampling.kind == "pairs" and not sampling.negatives:
            counts = torch.bincount(self._items.long(), minlength=events.num_items + 1)
            self._shared = SharedSample(counts, sampling, targets_a_group=batch_size)
        self._others = None if sampling.ordered or not sampling.history else Others(self._known, seed=seed)
        self._joins = self._shared is not None and not sampling.history and source.context is None
        self._epoch: tuple[int, Tensor] | None = None
        self._targets: dict[tuple[int, int], _Targets] = {}  # by epoch and first step: the last two that were made
        self._making = Lock()

    @property
    def num_examples(self) -> int:
        """Events to learn from."""
        return len(self._own)

    @property
    def num_items(self) -> int:
        """Items there are (I)."""
        return self.dataset.events.num_items

    def liked_by(self, rows: Tensor) -> Tensor:
        """All items (B, X) that the ``rows`` (B,) like, padded with 0."""
        offsets = self._known.offsets
        return padded(self._known.items, offsets[rows], offsets[rows + 1])

    @property
    def num_steps(self) -> int:
        """Batches of one epoch; the last may be smaller."""
        return -(-len(self._own) // self.batch_size)

    def get(self, epoch: int, step: int) -> Examples:
        """The examples of one step."""
        targets = self._targets_of(epoch, step)
        if self._joins:
            targets = targets.take(targets.rows.argsort(stable=True))
        chosen, rows, items = targets.own, targets.rows, targets.items
        data, events, sampling = self.dataset, self.dataset.events, self.sampling
        if self._joins:
            return self._joined(rows, items, _column(events.weights, chosen=chosen), epoch, step)
        take = partial(_column, chosen=chosen)
        requests = make_requests(
            self._known,
            rows=rows,
            stops=targets.stops,
            history=sampling.history if self._others is None else 0,
            user_features=data.user_features,
            context=None if data.context is None else data.context.take(chosen),
            time=None if events.times is None else events.times[chosen],
        )
        if self._others is not None:
            requests = self._others.beside(requests, chosen, epoch=epoch, most=sampling.history)
        weights = take(events.weights)
        if sampling.kind == "ratings":
            return Examples(requests, items[:, None], take(events.ratings), weights)
        if sampling.kind == "labels":
            assert events.liked is not None
            return Examples(requests, items[:, None], events.liked[chosen, None].float(), weights)
        if sampling.negatives:
            return Examples(requests, items[:, None], weights=weights, negatives=targets.negatives)
        assert self._positives is not None
        assert self._shared is not None
        sample = self._shared.draw(items, generator=self._generator(epoch, step))
        assert sample.columns is not None
        other = self._positives.among(rows, sample.items)
        other[torch.arange(len(rows)), sample.columns] = False  # the target itself
        return _sampled(requests, items, weights, sample, other)

    def _targets_of(self, epoch: int, step: int) -> _Targets:
        """Those of a step. They are made for several small batches at once, which takes half the time."""
        together = TOGETHER // self.batch_size
        if together <= 1:
            return self._make_targets(epoch, step, step + 1)
        first = step - step % together
        with self._making:
            made = self._targets.get((epoch, first))
            if made is None:
                made = self._make_targets(epoch, first, first + together)
                self._targets = {**dict(list(self._targets.items())[-1:]), (epoch, first): made}
        begin = (step - first) * self.batch_size
        return made.take(slice(begin, begin + self.batch_size))

    def _make_targets(self, epoch: int, first: int, stop: int) -> _Targets:
        """Those of the steps from ``first`` to before ``stop``."""
        places = self._order(epoch)[first * self.batch_size : stop * self.batch_size]
        # Twice as fast as [places].
        own, rows, items, stops = (
            each.index_select(0, places) for each in (self._own, self._rows, self._items, self._stops)
        )
        negatives = None
        if self._positives is not None and self.sampling.negatives:
            generator = self._generator(epoch, first)
            negatives = draw_negatives(self._positives, rows, self.sampling.negatives, generator=generator)[:, None]
        return _Targets(own, rows, items.long(), stops, negatives)

    def _joined(self, rows: Tensor, items: Tensor, weights: Tensor | None, epoch: int, step: int) -> Examples:
        """Targets (B,) of ``rows`` (B,), ascending, of which nothing else is asked: a row's targets share one request."""
        assert self._positives is not None
        assert self._shared is not None
        users, request = torch.unique_consecutive(rows, return_inverse=True)
        features = self.dataset.user_features
        requests = Requests(users, user_features=None if features is None else features.take(users))
        sample = self._shared.draw(items, generator=self._generator(epoch, step))
        positive = self._positives.among(users, sample.items)
        return replace(_sampled(requests, items, weights, sample, positive), request=request)

    def _generator(self, epoch: int, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(mix(self.seed, epoch, step))

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch, -1))
            self._epoch = (epoch, torch.randperm(len(self._own), generator=generator))
        return self._epoch[1]


def _sampled(requests: Requests, items: Tensor, weights: Tensor | None, sample: Sample, positive: Tensor) -> Examples:
    return Examples(
        requests,
        items[:, None],
        weights=weights,
        negatives=sample.items,
        negatives_log_prob=sample.log_prob,
        target_column=sample.columns,
        also_positive=positive,
    )


def _column(values: Tensor | None, *, chosen: Tensor) -> Tensor | None:
    return None if values is None else values[chosen][:, None]
