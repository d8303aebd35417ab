"""Feature encoders to a description that another language can follow: what each number of an encoded row means."""

from __future__ import annotations

from typing import Any

from shortlist.data.categories import Categories, Hashed, Known, Quantiles
from shortlist.data.encode import FeatureEncoder

RULES = {
    "values": "text is compared; the value at place p (from 0) of values has the id first_id + 1 + p, any other first_id",
    "buckets": "the id is first_id + 1 + CRC-32 of the text in UTF-8, modulo buckets; a missing one is first_id",
    "edges": "the id is first_id + 1 + how many edges are below the number; a missing one is first_id",
    "multi": "ids as of a categorical column, each once a row; values of all rows one after the other, offsets where each begins and the last ends",
    "numeric": "(x - mean) / std, with log of log(1 + x) of x above 0; a missing number is 0",
    "flag": "1 where the number is missing, else 0",
    "vectors": "(v - mean) / spread; a missing vector is 0",
    "images": "thumbnails of side pixels, three colours of bytes; a missing one is black",
}


def describe(encoder: FeatureEncoder, owner: str) -> dict[str, Any]:
    """Each input of the owner's features with its columns, in their order."""
    layout, fields = encoder.layout, encoder.fields()
    ids = [
        {"name": feature.name, "first_id": first, **_stated(known), "rule": _rule(known)}
        for feature, known, first in zip(fields, encoder.categories, layout.offsets, strict=True)
    ]
    single = len(layout.categorical)
    found: dict[str, Any] = {f"{owner}_categorical": ids[:single]} if single else {}
    for number, column in enumerate(ids[single:]):
        found[f"{owner}_multi{number}"] = [column | {"also": "multi"}]
    numeric = [feature for feature in encoder.features if feature.kind == "numeric" and not feature.is_category]
    scaled = list(zip(numeric, encoder.scales, strict=True))
    numbers = [
        {"name": feature.name, "mean": scale.mean, "std": scale.std, "log": scale.log, "rule": "numeric"}
        for feature, scale in scaled
    ]
    numbers += [{"name": feature.name, "rule": "flag"} for feature, scale in scaled if scale.flag]
    found |= {f"{owner}_numeric": numbers} if numbers else {}
    vectors = [feature for feature in encoder.features if feature.is_vector]
    if vectors:
        found[f"{owner}_vectors"] = [
            {
                "name": feature.name,
                "kind": feature.kind,
                "made_by": made.source.to_dict()["kind"],
                "width": made.width,
                "mean": made.mean.tolist(),
                "spread": made.spread,
                "rule": "vectors",
            }
            for feature, made in zip(vectors, encoder.vectors, strict=True)
        ]
    pictures = [feature for feature in encoder.features if feature.is_picture]
    for number, (feature, side) in enumerate(zip(pictures, layout.images, strict=True)):
        found[f"{owner}_image{number}"] = [{"name": feature.name, "side": side, "rule": "images"}]
    return found


def _stated(known: Categories) -> dict[str, Any]:
    return {"values": known.values.ids.tolist()} if isinstance(known, Known) else known.to_dict()


def _rule(known: object) -> str:
    return "buckets" if isinstance(known, Hashed) else "edges" if isinstance(known, Quantiles) else "values"
