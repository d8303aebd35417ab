"""Combinations of columns, such as (user, item), to how training's events of the same combination were labelled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, Examples, Features, Requests
from shortlist.models.item_features import ItemFeatures

PRIOR_EVENTS = 1.0  # a combination's label rate is drawn to the mean as by so many events


class Crosses(nn.Module):
    """The catalogue's X crossed columns of requests and items, each as two numbers of the combination at hand.

    Training counts the events and the liked events of every combination that it meets; one with an unknown value is never
    met. An event that is learnt from must not see its own label, so it is taken out of the counts that it meets
    (leave-one-out target statistics; Micci-Barreca 2001, "A preprocessing scheme for high-cardinality categorical
    attributes"; CatBoost's come from earlier events alone).
    """

    keys: Tensor  # (K,) ascending, one for each combination that was met
    counts: Tensor  # (K, 2) its events and liked events
    total: Tensor  # (2,) all events and liked events

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.columns, self.item_features = catalogue.crosses, ItemFeatures.of(catalogue.item_features, "categorical")
        self.register_buffer("keys", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(0, 2))
        self.register_buffer("total", torch.zeros(2))
        self._new: list[tuple[Tensor, Tensor]] = []  # counted, and not yet among the keys
        self.register_state_dict_pre_hook(lambda module, _prefix, _keep: module._settle())  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def num_numbers(self) -> int:
        """Numbers of a request with an item."""
        return 2 * len(self)

    def count(self, examples: Examples) -> None:
        """Count labelled events, or positives, that training will learn from."""
        liked = torch.ones(examples.items.shape) if examples.targets is None else examples.targets
        pairs = torch.stack((torch.ones_like(liked), liked), dim=2)  # (B, S, 2)
        keys, known = self._keys(examples.requests, examples.items)
        self.total = self.total + pairs.sum((0, 1))
        self._new.append((keys[known], pairs[:, :, None].expand(*keys.shape, 2)[known]))

    def forward(self, requests: Requests, items: Tensor, own: Tensor | None) -> Tensor:
        """Numbers (B, C, 2X) of requests with items (B, C).

        First come the crosses' label rates against the mean, in standard deviations of a label, then log(1 + events).
        ``own`` (B, C, 2) are the events and liked events among the counts that these very pairs stand for.
        """
        self._settle()
        keys, known = self._keys(requests, items)
        met = self.counts.new_zeros(*keys.shape, 2)
        if len(self.keys):
            place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
            met = self.counts[place] * ((self.keys[place] == keys) & known)[..., None]  # (B, C, X, 2)
        if own is not None:
            met = (met - own[:, :, None]).clamp(min=0)
        mean = (self.total[1] / self.total[0].clamp(min=1)).clamp(1e-3, 1 - 1e-3)
        events, liked = met.unbind(3)
        rate = (liked + PRIOR_EVENTS * mean) / (events + PRIOR_EVENTS)
        return torch.cat(((rate - mean) / (mean * (1 - mean)).sqrt(), torch.log1p(events)), dim=2)

    def _keys(self, requests: Requests, items: Tensor) -> tuple[Tensor, Tensor]:
        """A number (B, C, X) for each combination, and which have no unknown value (B, C, X)."""
        keys, known = [], []
        for cross, columns in enumerate(self.columns):
            key, all_known = torch.full_like(items, cross + 1), torch.ones_like(items, dtype=torch.bool)
            for owner, field in columns:
                value = self._values(owner, field, requests, items)
                key = _mixed(key * 1_000_003 + value)  # int64 wraps around
                all_known = all_known & (value > 0)
            keys.append(key)
            known.append(all_known)
        return torch.stack(keys, dim=2), torch.stack(known, dim=2)

    def _values(self, owner: str, field: int, requests: Requests, items: Tensor) -> Tensor:
        """The values (B, C) or (B, 1) of a column, 0 = unknown."""
        if owner == "user_id":
            assert requests.user is not None
            return requests.user[:, None]
        if owner == "item_id":
            return items
        if owner == "item":
            assert self.item_features is not None
            own = self.item_features.take(items.flatten())
            return _value(own, field).view(items.shape)
        features = requests.user_features if owner == "user" else requests.context
        if features is None:
            return items.new_zeros(len(items), 1)
        return _value(features, field)[:, None]

    def _settle(self) -> None:
        """Bring what was counted among the keys."""
        if self._new:
            every = torch.cat([self.keys, *(keys for keys, _ in self._new)])
            self.keys, place = torch.unique(every, return_inverse=True)
            counted = torch.cat([self.counts, *(pairs for _, pairs in self._new)])
            self.counts = counted.new_zeros(len(self.keys), 2).index_put_((place,), counted, accumulate=True)
            self._new = []

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *arguments: object) -> None:
        """Take over as many combinations as were saved."""
        self._new = []
        for name in ("keys", "counts"):
            if (saved := state.get(prefix + name)) is not None:
                setattr(self, name, torch.zeros_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state, prefix, *arguments)


def _value(features: Features, field: int) -> Tensor:
    assert features.categorical is not None
    return features.categorical[:, field].long() - features.layout.offsets[field]


def _mixed(key: Tensor) -> Tensor:
    """Numbers far apart for neighbours (a round of xorshift-multiply on int64)."""
    key = (key ^ (key >> 29)) * 0x3F58476D1CE4E5B9
    return key ^ (key >> 32)
