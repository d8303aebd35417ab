"""The items most like another one, before and after edits of the index, without a copy of its vectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import shortlist as sl
from shortlist.similar import Similar

COUNT, WIDTH = 600, 8
VECTORS = torch.randn(COUNT + 1, WIDTH, generator=torch.Generator().manual_seed(0))


def expected(vectors: dict[int, torch.Tensor], item: int, k: int) -> list[int]:
    own = torch.nn.functional.normalize(vectors[item], dim=0)
    cosines = {other: float(own @ torch.nn.functional.normalize(vectors[other], dim=0)) for other in vectors}
    return sorted((other for other in vectors if other != item), key=lambda other: -cosines[other])[:k]


@pytest.mark.parametrize(
    "settings", [sl.Exact(), sl.IVFPQ(nlist=4, nprobe=4, k_factor=8)], ids=["exact", "with what was added beside it"]
)
def test_edits_are_seen_and_vectors_stay_where_they_are(settings: Any) -> None:
    index = settings.build(torch.arange(1, COUNT + 1), VECTORS[1:])
    index.remove(torch.tensor([3, COUNT]))
    index.replace(torch.tensor([5]), VECTORS[6:7] * 3)
    index.add(torch.tensor([700, 701]), torch.stack((VECTORS[7] * 0.5, -VECTORS[7])))
    known = {item: VECTORS[item] for item in range(1, COUNT) if item != 3}
    known |= {5: VECTORS[6] * 3, 700: VECTORS[7] * 0.5, 701: -VECTORS[7]}
    similar = Similar(SimpleNamespace(sources=[SimpleNamespace(index=index)]))  # type: ignore[arg-type]
    for item in (6, 5, 7, 700, 701, 100):
        found = similar(item, 12)
        assert found.items[0].tolist() == expected(known, item, 12)
        assert bool((found.scores[0, 1:] <= found.scores[0, :-1]).all())
    assert similar(6, 1).scores[0, 0] == pytest.approx(1)
    assert similar(7, len(known) + 3).items[0].count_nonzero() == len(known) - 1
    for gone in (3, COUNT, 999):
        assert similar(gone, 4).items[0].tolist() == [0, 0, 0, 0]
    shared = {vectors.untyped_storage().data_ptr() for _, vectors in index.copy().parts()}
    assert {vectors.untyped_storage().data_ptr() for _, vectors, _ in similar._known or ()} <= shared
