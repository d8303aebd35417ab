"""Who liked what into item-to-item similarities; a history's similarities add up to scores.

Item-based nearest neighbours (Sarwar, Karypis, Konstan, Riedl 2001): every item keeps its most similar items, and
scores by those of them that are in the history. It knows no ratings and no event weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Filter, Interactions, Ragged, Requests
from shortlist.errors import TrainingError, check_choices, check_ranges
from shortlist.features import running_total, spans
from shortlist.models.more import More, Place

Similarity = Literal["cosine", "jaccard"]
FeatureWeighting = Literal["none", "tf_idf"]

_SCORES_AT_ONCE = 1 << 20  # of a search: 4 MB of float32 stay in the cache
_PAIRS_AT_ONCE = 1 << 22  # of items: 100 MB as a sparse matrix


@dataclass(frozen=True, slots=True)
class ItemKNN:
    """Settings of item-kNN.

    Each item keeps its ``neighbours`` most similar items; ``shrinkage`` is added to the similarity's denominator and
    so lowers similarities that rest on few users. ``tf_idf`` lets a user who likes many items count less.
    ``history`` is how many of a user's latest events a request should carry: all of them to tell what a user likes at
    large, 5 to 20 to tell what comes next.

    >>> network = ItemKNN(shrinkage=0).build(Catalogue(num_users=2, num_items=3))
    >>> network.solve(Interactions(torch.tensor([0, 0, 2, 4]), torch.tensor([1, 2, 1, 3]), num_items=3))
    >>> network.search(Requests(history=torch.tensor([[2]])), 2).items  # item 2 was liked with 1, never with 3
    tensor([[1, 0]])
    """

    neighbours: int = 100
    shrinkage: float = 10.0
    similarity: Similarity = "cosine"
    feature_weighting: FeatureWeighting = "tf_idf"
    history: int = 500

    recommended: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        check_ranges(self, whole=("neighbours", "history"), from_0=("shrinkage",))
        check_choices(self, {"similarity": Similarity, "feature_weighting": FeatureWeighting})

    @property
    def sampling(self) -> None:
        """None: the model is counted, not trained on examples."""
        return

    def build(self, catalogue: Catalogue) -> ItemKNNNetwork:
        """A network that knows no neighbours yet."""
        return ItemKNNNetwork(self, catalogue)


class ItemKNNNetwork(nn.Module):
    """Similarities, kept by the item of the history that contributes them.

    The item ``i`` adds ``values[j]`` to the score of ``targets[j]``, for ``j`` from ``offsets[i]`` to
    ``offsets[i + 1]``; what lies behind ``offsets[-1]`` is empty, and not there in a network that was grown.
    """

    offsets: Tensor  # (I+2,) int64
    targets: Tensor  # (I*n,) int64
    values: Tensor  # (I*n,) float32

    def __init__(self, settings: ItemKNN, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.num_items = catalogue.num_items
        self.register_buffer("offsets", torch.zeros(catalogue.num_items + 2, dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(self._room(), dtype=torch.int64))
        self.register_buffer("values", torch.zeros(self._room()))

    def solve(self, interactions: Interactions, /) -> None:
        """Find every item's neighbours. Raises :class:`TrainingError` if no event is positive."""
        liked = interactions.positives()
        num_items = interactions.num_items
        users, items = _distinct(liked.rows(), liked.items.long(), num_items + 1)
        if not len(items):
            raise TrainingError("ItemKNN: there are no positive events to count. Check schema.positive and the split.")
        sources, targets, values = _neighbours(users, items, num_items, self.settings)
        order = torch.argsort(sources, stable=True)
        self.offsets.copy_(running_total(torch.bincount(sources, minlength=num_items + 1)))
        self.targets.zero_()[: len(order)] = targets[order]
        self.values.zero_()[: len(order)] = values[order]

    def grow_by(self, more: More, _: Place) -> None:
        """Give new items no neighbours, wherever they belong."""
        self.offsets = torch.cat((self.offsets, self.offsets[-1:].expand(more.items)))
        self.num_items += more.items

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        missing = self._room() - len(self.targets)
        if missing:  # a network of so many items is made with that much room
            for name in ("targets", "values"):
                destination[prefix + name] = nn.functional.pad(destination[prefix + name], (0, missing))

    def _room(self) -> int:
        return self.num_items * min(self.settings.neighbours, self.num_items)

    def search(self, requests: Requests, k: int, *, filter: Filter | None = None) -> Candidates:
        """The ``k`` items with the largest sums of similarities to the histories (B, k).

        Items similar to nothing in a history are no candidates: their slots stay empty.
        """
        num_items = len(self.offsets) - 2
        steps = 0 if requests.history is None else requests.history.shape[1]
        at_once = max(1, _SCORES_AT_ONCE // max(num_items + 1, steps * self.settings.neighbours))
        found = []
        for rows in torch.split(torch.arange(len(requests), device=self.offsets.device), at_once):
            scores = self._scores(None if requests.history is None else requests.history[rows], len(rows))
            found.append(Candidates.top(scores, k, None if filter is None else filter.take(rows)))
        return Candidates(torch.cat([part.items for part in found]), torch.cat([part.scores for part in found]))

    def can_serve(self, requests: Requests, /) -> Tensor:
        """Whether each history (B,) has an item that is some item's neighbour."""
        if requests.history is None:
            return torch.zeros(len(requests), dtype=torch.bool, device=self.offsets.device)
        first = requests.history
        return (self.offsets[first + 1] > self.offsets[first]).any(1)

    def _scores(self, history: Tensor | None, num_requests: int) -> Tensor:
        """Sums of similarities (b, I+1), -inf where there are none; an item that comes twice in a history counts once."""
        width = len(self.offsets) - 1
        scores = self.values.new_zeros(num_requests * width)
        if history is not None:
            rows, steps = history.nonzero(as_tuple=True)
            rows, items = _distinct(rows, history[rows, steps], width)
            lengths = self.offsets.diff()[items]
            entries = spans(self.offsets[items], lengths)
            rows = torch.repeat_interleave(rows, lengths, output_size=len(entries))
            scores.index_add_(0, rows * width + self.targets[entries], self.values[entries])
        return scores.masked_fill_(scores == 0, -torch.inf).view(num_requests, width)


def _neighbours(users: Tensor, items: Tensor, num_items: int, settings: ItemKNN) -> tuple[Tensor, Tensor, Tensor]:
    """Each target item's most similar source items: ``sources``, ``targets`` and similarities ``values``, all (M,).

    ``users`` and ``items`` (L,) are who likes what, each pair once, by user.
    """
    num_users = int(users.max()) + 1
    activity = torch.bincount(users, minlength=num_users)
    rarity = torch.ones(num_users)
    if settings.feature_weighting == "tf_idf":
        rarity = torch.log((num_items + 1) / activity)
    liked = _sparse(users, items, rarity[users], (num_users, num_items + 1))
    likes = torch.bincount(items, minlength=num_items + 1)
    likers = Ragged(users[torch.argsort(items, stable=True)], running_total(likes))
    weight = torch.zeros_like(likes, dtype=torch.float32).index_add_(0, items, rarity[users].square())
    reach = torch.zeros_like(likes).index_add_(0, items, activity[users]).clamp(max=num_items)  # most that meet an item

    found = []
    for targets in _blocks(reach):
        those = likers.take(targets)
        rows = torch.repeat_interleave(those.offsets.diff())
        block = _sparse(rows, those.values, rarity[those.values], (len(targets), num_users))
        rows, sources, shared = _product(block, liked)  # (M,) each: what the likers of both weigh
        if settings.similarity == "cosine":
            whole = (weight[targets[rows]] * weight[sources]).sqrt_()
        else:
            whole = weight[targets[rows]] + weight[sources] - shared
        values = shared / (whole + settings.shrinkage)
        others = sources != targets[rows]
        best = _best(rows[others], values[others], len(targets), settings.neighbours)
        rows, sources, values = rows[others][best], sources[others][best], values[others][best]
        found.append((sources, targets[rows], values))
    sources, targets, values = (torch.cat(part) for part in zip(*found, strict=True))
    return sources, targets, values


def _blocks(reach: Tensor) -> Iterator[Tensor]:
    """Items by falling ``reach`` (I+1,), in blocks whose longest row times its height is what memory allows."""
    ordered, order = torch.sort(reach, descending=True, stable=True)
    start, stop = 0, int((ordered > 0).sum())
    while start < stop:
        end = min(stop, start + max(1, _PAIRS_AT_ONCE // int(ordered[start])))
        yield order[start:end]
        start = end


def _best(rows: Tensor, values: Tensor, num_rows: int, most: int) -> Tensor:
    """Positions of the ``most`` largest positive ``values`` (M,) of every row; ``rows`` (M,) rise."""
    offsets = running_total(torch.bincount(rows, minlength=num_rows))
    widest = int(offsets.diff().max())
    padded = values.new_zeros(num_rows, widest)
    padded[rows, torch.arange(len(rows)) - offsets[rows]] = values
    best, places = torch.topk(padded, min(most, widest), dim=1)
    return (offsets[:-1, None] + places)[best > 0]


def _product(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values (M,) of the product of two sparse matrices, by row."""
    with warnings.catch_warnings():  # torch calls the format that it goes through inside a beta
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        product = torch.sparse.mm(left, right).coalesce()
    rows, columns = product.indices()
    return rows, columns, product.values()


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A sparse matrix; the places must be distinct and sorted."""
    return torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values, size, is_coalesced=True, check_invariants=False
    )


def _distinct(rows: Tensor, columns: Tensor, num_columns: int) -> tuple[Tensor, Tensor]:
    """The pairs that occur, each once, sorted; column 0 (unknown) left out."""
    pairs = torch.unique(rows * num_columns + columns)
    rows, columns = pairs // num_columns, pairs % num_columns
    return rows[columns > 0], columns[columns > 0]
