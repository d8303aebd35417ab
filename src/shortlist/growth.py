"""A model to the same for more users and items: what it has learnt stays, and new items stand where their features say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from shortlist.contracts import Features, Interactions, KnowsItemFeatures, Pretrained
from shortlist.data.dataset import Dataset
from shortlist.data.grow import as_grown
from shortlist.errors import SettingsError
from shortlist.model import Model

Place = Callable[[Tensor], Tensor]  # rows (I+1, D) of the known items to the rows (n, D) of the new ones
SHRINKAGE = 5.0  # items of a value that weigh as much as the mean of all items
RIDGE = 10.0  # on standardised columns


@runtime_checkable
class TakesOver(Protocol):
    """A part of a network whose rows do not just go on at its end where there are more users or items."""

    def take_over(self, other: nn.Module, place: Place | None, /) -> None:
        """Copy what ``other`` has learnt."""
        ...


def grown(model: Model, dataset: Dataset) -> Model:
    """``model``, with the events it was fitted on, for the users and items of ``dataset``, whose first ones are its own.

    New items get what :func:`placement` says in every table of items, or where the network knows them by their features
    nothing but those. Without features they are as unknown, and so are new users.
    """
    catalogue = dataset.catalogue().with_evidence(model.catalogue.evidence)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = model.settings.build(catalogue)
    known, features = model.catalogue.num_items, dataset.item_features
    count = dataset.num_items - known
    place: Place = partial(_nowhere, count)
    if features is not None and count and not isinstance(network, KnowsItemFeatures):
        place = placement(features, model.dataset.positives().events, known)
    take_over(network, model.network, place)
    if isinstance(network, KnowsItemFeatures):
        network.forget_items(torch.arange(known + 1, dataset.num_items + 1))
    return replace(model, network=network.eval(), dataset=as_grown(model.dataset, dataset), catalogue=catalogue)


def start_from(network: nn.Module, initial: Model | Mapping[str, Model]) -> None:
    """Let ``network`` go on from a model of its kind, whose users and items are its first ones, or from its named parts."""
    name = type(network).__name__.removesuffix("Network")
    if isinstance(initial, Model):
        if type(initial.network) is not type(network):
            raise SettingsError(f"{name} cannot go on from a {initial.name}.")
        take_over(network, initial.network, None)
        return
    if not isinstance(network, Pretrained):
        raise SettingsError(f"{name} does not start from other models by name. Leave initial out.")
    network.start_from({name: model.network for name, model in initial.items()})


@torch.no_grad()
def take_over(network: nn.Module, other: nn.Module, place: Place | None) -> None:
    """Copy what ``other`` has learnt into ``network``, which is like it but for more users or items.

    Further rows of tables of items are what ``place`` makes of the known ones, and those of users 0; without it they are
    as drawn.
    """
    parts, done = dict(other.named_modules()), list[str]()
    for name, part in network.named_modules():
        if any(name.startswith(prefix) for prefix in done):
            continue
        loads_any_size = type(part)._load_from_state_dict is not nn.Module._load_from_state_dict
        if isinstance(part, TakesOver):
            part.take_over(parts[name], place)
        elif loads_any_size:  # what it knows goes by values, not by rows: counted combinations, trees
            part.load_state_dict(parts[name].state_dict())
        if isinstance(part, TakesOver) or loads_any_size:
            done.append(f"{name}." if name else "")
            continue
        own = dict(parts[name].named_parameters(recurse=False)) | dict(parts[name].named_buffers(recurse=False))
        for key, rows in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            take_rows(rows, own[key], place, what=f"{name}.{key}")


def take_rows(rows: Tensor, known: Tensor, place: Place | None, *, what: str) -> None:
    """Copy ``known`` into the first of ``rows``; see :func:`take_over` for the others."""
    if rows.shape[1:] != known.shape[1:] or (rows.dim() and len(rows) < len(known)):
        raise SettingsError(
            f"The {what} have the shape {tuple(rows.shape)} and were {tuple(known.shape)}: a model goes on with its own "
            "settings and features, and with no fewer users and items."
        )
    if rows.shape == known.shape:
        rows.copy_(known)
        return
    rows[: len(known)] = known
    if place is not None and rows.dim() == 2:
        rows[len(known) :] = 0 if "user" in what else place(known)


def placement(features: Features, events: Interactions, known: int) -> Place:
    """Where the items behind the first ``known`` belong in a table of rows, by what their features share with the others.

    A row is the mean of the items with events, plus the mean of what each of the item's values adds to it (the mean of the
    items that share the value, drawn to that of all as by 5 items), plus a ridge regression of what then is left on the
    numbers and vectors. It is given the mean length of the known rows.
    """
    met = (events.item_counts()[: known + 1] > 0).nonzero().squeeze(1)
    new = torch.arange(known + 1, len(features))
    learnt, wanted = features.take(met), features.take(new)
    learnt_values, wanted_values = _pairs(learnt), _pairs(wanted)
    columns, asked = _numbers(learnt), _numbers(wanted)

    def place(rows: Tensor) -> Tensor:
        target = rows[met].double()  # (m, D)
        mean = target.mean(0) if len(met) else rows.new_zeros(rows.shape[1]).double()
        values = _value_effects(learnt_values, target - mean, features.layout.num_ids)  # (V, D)
        placed = mean + _by_values(wanted_values, values, len(wanted))
        if columns is not None and asked is not None and len(met):
            left = target - mean - _by_values(learnt_values, values, len(learnt))
            gram = columns.T @ columns + RIDGE * torch.eye(columns.shape[1], dtype=torch.float64)
            placed = placed + asked @ torch.linalg.solve(gram, columns.T @ left)
        if rows.shape[1] > 1:  # means are shorter than what they are means of, and would never come first
            usual = target.norm(dim=1).mean() if len(met) else 1.0
            placed *= usual / placed.norm(dim=1, keepdim=True).clamp(min=1e-9)
        return placed.to(rows.dtype)

    return place


def _pairs(features: Features) -> tuple[Tensor, Tensor]:
    """The known values of N rows: which row (P,) has which value (P,), in fused ids."""
    rows: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    values: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    every = torch.arange(len(features))
    if features.categorical is not None:
        for column in features.categorical.long().T:
            rows.append(every)
            values.append(column)
    for field in features.multi:
        rows.append(torch.repeat_interleave(every, field.offsets.diff()))
        values.append(field.values.long())
    row, value = torch.cat(rows), torch.cat(values)
    is_known = ~torch.isin(value, torch.tensor(features.layout.offsets))  # a field's first value is its unknown one
    return row[is_known], value[is_known]


def _value_effects(pairs: tuple[Tensor, Tensor], target: Tensor, num_values: int) -> Tensor:
    """How far the rows (N, D) of each value (V, D) lie from the mean of all."""
    row, value = pairs
    effects = target.new_zeros(num_values, target.shape[1])
    for part in torch.split(torch.arange(len(row)), 1_000_000):
        effects.index_add_(0, value[part], target[row[part]])
    counts = torch.bincount(value, minlength=num_values)
    return effects / (counts + SHRINKAGE)[:, None]


def _by_values(pairs: tuple[Tensor, Tensor], effects: Tensor, num_rows: int) -> Tensor:
    """The mean effect (N, D) of the values of each row."""
    row, value = pairs
    total = effects.new_zeros(num_rows, effects.shape[1])
    for part in torch.split(torch.arange(len(row)), 1_000_000):
        total.index_add_(0, row[part], effects[value[part]])
    return total / torch.bincount(row, minlength=num_rows).clamp(min=1)[:, None]


def _numbers(features: Features) -> Tensor | None:
    parts = [part.double() for part in (features.numeric, features.vectors) if part is not None]
    return torch.cat(parts, dim=1) if parts else None


def _nowhere(count: int, rows: Tensor) -> Tensor:
    return rows.new_zeros(count, rows.shape[1])
