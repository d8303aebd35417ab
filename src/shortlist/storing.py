"""A funnel to the parts of a bundle and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import msgspec
import torch

from shortlist.bundle import Bundle, Indexed, Part
from shortlist.data.dataset import Dataset
from shortlist.diversity import Values
from shortlist.errors import BundleError
from shortlist.funnel import Funnel
from shortlist.model import Model
from shortlist.models.popularity import Popularity, PopularityNetwork
from shortlist.query import encode_selection
from shortlist.sources import Source


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bundle of a recommender states beside its parts, as JSON."""

    candidates: int
    diversity: float
    caps: dict[str, int]
    made: Made


@dataclass(frozen=True, slots=True)
class Made:
    """When a recommender's models were trained and its items last indexed, in seconds since 1970; None: not known."""

    trained: float | None
    indexed: float | None


def funnel_to_bundle(funnel: Funnel, dataset: Dataset, held_out: Dataset | None, made: Made) -> Bundle:
    """A bundle of the funnel and of what it serves with; ``made`` says when."""
    parts = {"fallback": Part(Popularity(), funnel.fallback.state_dict(), {})}
    indexes: dict[str, Indexed] = {}
    for place, source in enumerate(funnel.sources, start=1):
        suffix = "" if place == 1 else f"_{place}"
        parts[f"model{suffix}"] = source.model.to_part()
        if source.index is not None and source.index_settings is not None:
            indexes[f"index{suffix}"] = source.index_settings, source.index.arrays()
    if funnel.ranker is not None:
        parts["ranker"] = funnel.ranker.to_part()
    caps = {cap.attribute: cap.most for cap in funnel.selection.caps}
    facts = Facts(funnel.candidates, funnel.selection.diversity, caps, made)
    arrays = {} if funnel.offered is None else {"withdrawn": (~funnel.offered).nonzero().squeeze(1)}
    return Bundle(parts, dataset, held_out, indexes, asdict(facts), arrays)


def funnel_from_bundle(bundle: Bundle, values: Callable[[str], Values]) -> tuple[Funnel, Made]:
    """What :func:`funnel_to_bundle` made a bundle of; ``values`` finds those of the items in a column of their table."""
    if "fallback" not in bundle.parts:
        raise BundleError("The folder holds a single model and no recommender. Read it with sl.Model.load(path).")
    models = {name: Model.from_part(part, bundle.dataset) for name, part in bundle.parts.items()}
    fallback = models["fallback"].network
    assert isinstance(fallback, PopularityNetwork)
    sources: list[Source] = []
    for name in (name for name in models if name.startswith("model")):
        settings, arrays = bundle.indexes.get(name.replace("model", "index"), (None, {}))
        index = None if settings is None else settings.restore(arrays)
        if index is not None and any(bool((items > bundle.dataset.num_items).any()) for items, _ in index.parts()):
            raise BundleError(f"The index of {name} has items that the bundle has not. Write it anew.")
        sources.append(Source(models[name], index, settings))
    facts, offered = msgspec.convert(bundle.facts, Facts), None
    if "withdrawn" in bundle.arrays:
        offered = torch.ones(bundle.dataset.num_items + 1, dtype=torch.bool)
        offered[bundle.arrays["withdrawn"]] = False
    selection = encode_selection(facts.diversity, facts.caps, values)
    funnel = Funnel(tuple(sources), models.get("ranker"), facts.candidates, fallback, selection, offered)
    return funnel, facts.made
