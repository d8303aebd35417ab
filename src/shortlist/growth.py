"""A model to the same for more users and items: what it has learnt stays, and new items stand where their features say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, KnowsItemFeatures, Pretrained
from shortlist.data.dataset import Dataset
from shortlist.data.grow import as_grown
from shortlist.errors import SettingsError
from shortlist.layered import LayeredFeatures
from shortlist.model import Model
from shortlist.models.layers import Embedding
from shortlist.models.more import GrowsBy, More, Place, nowhere
from shortlist.placing import Directions

Part = TypeVar("Part", bound=nn.Module)
Places = Callable[[str], Place]  # from the name of a table of items to how the rows of new ones are found


@runtime_checkable
class TakesOver(Protocol):
    """A part of a network whose rows do not just go on at its end where there are more users or items."""

    def take_over(self, other: Any, /) -> None:
        """Copy what ``other`` has learnt; rows that it does not know stay as they were drawn."""
        ...


def grown(model: Model, dataset: Dataset) -> Model:
    """``model``, with the events it was fitted on, for the users and items of ``dataset``, whose first ones are its own.

    New items get what :class:`~shortlist.placing.Directions` say in every table of items, or where the network knows them by
    their features nothing but those. Without features they are as unknown, and so are new users. Both models share what did
    not change; :func:`~shortlist.fit` copies it before it trains on.
    """
    before, catalogue = model.catalogue, dataset.catalogue().with_evidence(model.catalogue.evidence)
    users, items = catalogue.num_users - before.num_users, catalogue.num_items - before.num_items
    network = model.network
    if users or items or catalogue.item_features is not before.item_features:
        network = larger(network, More(users, items, catalogue.item_features), _places(model, catalogue))
    return replace(model, network=network, dataset=as_grown(model.dataset, dataset), catalogue=catalogue)


def learn_places(model: Model) -> None:
    """Learn ahead where new items belong: else those that come first wait for it."""
    features = model.catalogue.item_features
    if features is None or isinstance(model.network, KnowsItemFeatures):
        return

    def places(name: str) -> Place:
        def place(rows: Tensor, count: int) -> Tensor:
            _directions(model, name, rows)
            return nowhere(rows, count)

        return place

    larger(model.network, More(0, 0, features), places)


def larger(network: Part, more: More, places: Places) -> Part:
    """A copy of ``network`` for more users and items that shares what it has learnt; new items get the rows of ``places``."""
    copied = _sharing(network)
    with torch.no_grad():
        for name, part in copied.named_modules():
            if isinstance(part, GrowsBy):
                part.grow_by(more, places(name))
    return copied.eval()


def _sharing(part: Part) -> Part:
    """A copy of a part of a network, and of all parts in it, with the same tensors."""
    copied = part.__new__(type(part))
    copied.__dict__ = {name: value.copy() if isinstance(value, dict) else value for name, value in vars(part).items()}
    copied._modules = {name: None if each is None else _sharing(each) for name, each in part._modules.items()}
    return copied


def start_from(network: nn.Module, initial: Model | Mapping[str, Model]) -> None:
    """Let ``network`` go on from a model of its kind, whose users and items are its first ones, or from its named parts."""
    name = type(network).__name__.removesuffix("Network")
    if isinstance(initial, Model):
        if type(initial.network) is not type(network):
            raise SettingsError(f"{name} cannot go on from a {initial.name}.")
        take_over(network, initial.network)
        return
    if not isinstance(network, Pretrained):
        raise SettingsError(f"{name} does not start from other models by name. Leave initial out.")
    network.start_from({name: model.network for name, model in initial.items()})


@torch.no_grad()
def take_over(network: nn.Module, other: nn.Module) -> None:
    """Copy what ``other`` has learnt into ``network``, which is like it but for more users or items.

    Further rows of tables stay as they were drawn.
    """
    parts, done = dict(other.named_modules()), list[str]()
    for name, part in network.named_modules():
        if any(name.startswith(prefix) for prefix in done):
            continue
        loads_any_size = type(part)._load_from_state_dict is not nn.Module._load_from_state_dict
        if isinstance(part, TakesOver):
            part.take_over(parts[name])
        elif loads_any_size:  # what it knows goes by values, not by rows: counted combinations
            part.load_state_dict(parts[name].state_dict())
        if isinstance(part, TakesOver) or loads_any_size:
            done.append(f"{name}." if name else "")
            continue
        known = _tensors(parts[name])
        for key, rows in _tensors(part).items():
            if key not in part._non_persistent_buffers_set:  # what such a buffer says is said again where it matters
                _take_rows(rows, known[key], what=f"{name}.{key}")


def _take_rows(rows: Tensor, known: Tensor, *, what: str) -> None:
    """Copy ``known`` into the first of ``rows``."""
    if rows.shape[1:] != known.shape[1:] or (rows.dim() and len(rows) < len(known)):
        raise SettingsError(
            f"The {what} have the shape {tuple(rows.shape)} and were {tuple(known.shape)}: a model goes on with its own "
            "settings and features, and with no fewer users and items."
        )
    if rows.shape == known.shape:
        rows.copy_(known)
    else:
        rows[: len(known)] = known


def _tensors(part: nn.Module) -> dict[str, Tensor]:
    """What a part holds itself, by name; of an embedding that grew all rows."""
    own = dict(part.named_parameters(recurse=False)) | dict(part.named_buffers(recurse=False))
    return {"weight": part.whole()} if isinstance(part, Embedding) else own


def _places(model: Model, catalogue: Catalogue) -> Places:
    """Where the items of ``catalogue`` that ``model`` does not know belong."""
    features = catalogue.item_features
    if features is None or isinstance(model.network, KnowsItemFeatures):
        return lambda _: nowhere
    items = torch.arange(model.catalogue.num_items + 1, catalogue.num_items + 1)

    def places(name: str) -> Place:
        def place(rows: Tensor, count: int) -> Tensor:
            return _directions(model, name, rows).place(features, items) if count else nowhere(rows, count)

        return place

    return places


def _directions(model: Model, name: str, rows: Tensor) -> Directions:
    """Where features lead in a table, by those that the items had when the model was fitted or loaded."""
    features = model.catalogue.item_features
    assert features is not None
    first = features.base if isinstance(features, LayeredFeatures) else features
    return model.placing.directions(name, rows, first, lambda: model.dataset.positives().events)
