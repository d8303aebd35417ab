"""What a bundle of an older format says into what this version reads, one format after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shortlist.data.encode import tensors
from shortlist.texts import Texts
from shortlist.vocabulary import Vocabulary

FORMAT = 4


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a bundle but for its manifest and the items' raw columns, by their names without the ending."""

    tensors: dict[str, dict[str, Tensor]]
    documents: dict[str, Any]  # of JSON, which the bundles of this version have none of


Manifest = dict[str, Any]
Migration = Callable[[Manifest, Contents], Manifest]


def upgraded(manifest: Manifest, contents: Contents) -> Manifest:
    """The manifest of a bundle in this version's words; what it says elsewhere is brought into ``contents``."""
    for version in range(manifest["format"], FORMAT):
        manifest = MIGRATIONS[version](manifest, contents)
    return manifest


def _from_1_to_2(manifest: Manifest, _: Contents) -> Manifest:
    """Format 1 had one source with its index, and no last step."""
    indexes = {} if manifest["index"] is None else {"index": manifest["index"]}
    return {**manifest, "indexes": indexes, "facts": {"diversity": 0.0, "caps": {}, **manifest["facts"]}}


def _from_2_to_3(manifest: Manifest, _: Contents) -> Manifest:
    """Format 2 knew no withdrawn items, and not when it was made."""
    made = {"trained": None, "indexed": None}
    return {**manifest, "facts": {"withdrawn": [], "made": made, **manifest["facts"]}}


def _from_3_to_4(manifest: Manifest, contents: Contents) -> Manifest:
    """Format 3 had lists of ids, titles and values in JSON, and those of withdrawn items."""
    stated = contents.documents.pop("encoders")
    found = contents.tensors.setdefault("encoders", {})
    for owner in ("users", "items"):
        found |= _named(owner, Vocabulary(stated.pop(owner)).arrays())
    titles = stated.pop("titles")
    if titles is not None:
        found |= _named("titles", Texts.of(titles).arrays())
    for owner, encoder in stated.items():
        for place, known in enumerate([] if encoder is None else encoder["categories"]):
            if "values" in known:
                values = known["values"]
                known["values"] = len(values)
                found |= _named(f"{owner}.categories.{place}", Vocabulary(values).arrays())
        if encoder is not None:
            encoder.setdefault("vectors", [])
    facts = dict(manifest["facts"])
    if withdrawn := facts.pop("withdrawn", None):
        contents.tensors["facts"] = {"withdrawn": torch.tensor(withdrawn)}
    return {**manifest, "encoders": stated, "facts": facts}


def _named(part: str, arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{part}.{name}": table for name, table in tensors(arrays).items()}


# How to bring what an older format says up to the next one.
MIGRATIONS: Mapping[int, Migration] = {1: _from_1_to_2, 2: _from_2_to_3, 3: _from_3_to_4}
