"""A funnel to the parts of a bundle and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

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
    facts = {
        "candidates": funnel.candidates,
        "diversity": funnel.selection.diversity,
        "caps": {cap.attribute: cap.most for cap in funnel.selection.caps},
        "made": asdict(made),
    }
    arrays = {} if funnel.offered is None else {"withdrawn": (~funnel.offered).nonzero().squeeze(1)}
    return Bundle(parts, dataset, held_out, indexes, facts, arrays)


def funnel_from_bundle(bundle: Bundle, values: Callable[[str], Values]) -> Funnel:
    """The funnel of a bundle that :func:`funnel_to_bundle` made; ``values`` finds those of the items in a column of their table."""
    if "fallback" not in bundle.parts:
        raise BundleError("The folder holds a single model and no recommender. Read it with sl.Model.load(path).")
    models = {name: Model.from_part(part, bundle.dataset) for name, part in bundle.parts.items()}
    fallback = models["fallback"].network
    assert isinstance(fallback, PopularityNetwork)
    sources: list[Source] = []
    for name in (name for name in models if name.startswith("model")):
        settings, arrays = bundle.indexes.get(name.replace("model", "index"), (None, {}))
        index = None if settings is None else settings.restore(arrays)
        sources.append(Source(models[name], index, settings))
    facts, offered = bundle.facts, None
    if "withdrawn" in bundle.arrays:
        offered = torch.ones(bundle.dataset.num_items + 1, dtype=torch.bool)
        offered[bundle.arrays["withdrawn"]] = False
    selection = encode_selection(facts["diversity"], facts["caps"], values)
    return Funnel(tuple(sources), models.get("ranker"), facts["candidates"], fallback, selection, offered)
