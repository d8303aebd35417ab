"""Annoy: what is asked for, what is reached, and what a damaged forest does."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.errors import MissingExtraError, SearchError, SettingsError
from shortlist.index import Annoy, Exact, recall


@pytest.fixture
def _library() -> None:
    pytest.importorskip("annoy", reason="comes with the extra 'annoy'")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_setting_out_of_range_is_named_with_its_range() -> None:
    with pytest.raises(SettingsError, match=r"Annoy.recall is 2. It is above 0 and below 1"):
        Annoy(recall=2)
    for name in ("trees", "search_k"):
        with pytest.raises(SettingsError, match=rf"Annoy.{name} is 0. It is a whole number from 1 to"):
            Annoy(**{name: 0})


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def without(name: str, *arguments: Any) -> Any:
        if name == "annoy":
            raise ImportError(name)
        return found(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=r'needs annoy.*pip install "shortlist\[annoy\]"'):
        Annoy().build(torch.arange(1, 4), torch.ones(3, 2))


@pytest.mark.usefixtures("_library")
def test_more_recall_is_asked_for_and_reached_with_more_work() -> None:
    items, vectors, queries = torch.arange(1, 3_001), random(3_000, 16), random(300, 16, seed=1)
    truth = Exact().build(items, vectors).search(queries[150:], 100)
    looked = []
    for wanted in (0.8, 0.97):
        index = Annoy(recall=wanted, trees=20).build(items, vectors, queries=queries[:150])
        assert float(recall(index.search(queries[150:], 100), truth=truth).mean()) >= wanted - 0.01
        looked.append(index.tuned.search_k)
    assert looked[0] < looked[1]


@pytest.mark.usefixtures("_library")
def test_a_given_search_k_is_used_as_it_is() -> None:
    items, vectors = torch.arange(1, 2_001), random(2_000, 16)
    assert Annoy(trees=5, search_k=77).build(items, vectors).tuned == Annoy(trees=5, search_k=77)


@pytest.mark.usefixtures("_library")
def test_saving_while_others_search_changes_nothing_for_them() -> None:
    """Annoy's own save() would move the forest under a running search; it is written once, before the first."""
    index = Annoy(trees=5).build(torch.arange(1, 2_001), random(2_000, 8))
    before = index.search(random(5, 8), 20)
    first, second = index.arrays()["trees"], index.arrays()["trees"]
    assert torch.equal(first, second)
    assert torch.equal(index.search(random(5, 8), 20).items, before.items)


@pytest.mark.usefixtures("_library")
def test_the_file_is_gone_when_the_index_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    index = Annoy(trees=2).build(torch.arange(1, 301), random(300, 8))
    restored = Annoy().restore(index.arrays())
    assert len(list(tmp_path.iterdir())) == 2
    del index, restored
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_library")
def test_a_mask_that_passes_only_what_is_far_gets_whole_answers() -> None:
    items, vectors, queries = torch.arange(1, 4_001), random(4_000, 8), random(10, 8, seed=1)
    index = Annoy(trees=5, search_k=10).build(items, vectors)
    far = (queries[:1] @ vectors.T)[0].argsort()[:3_000] + 1
    allowed = torch.zeros(4_001, dtype=torch.bool)
    allowed[far] = True
    found = index.search(queries, 30, filter=Filter(allowed=allowed))
    assert found.valid.all()
    assert bool(allowed[found.items].all())


@pytest.mark.usefixtures("_library")
def test_a_forest_that_is_not_as_written_or_of_other_vectors_is_refused() -> None:
    arrays = Annoy(trees=5).build(torch.arange(1, 501), random(500, 8)).arrays()
    others = Annoy(trees=5).build(torch.arange(1, 601), random(600, 8)).arrays()
    damaged = arrays["trees"].clone()
    damaged[5_000] ^= 1
    with pytest.raises(SearchError, match="'trees'.*not what was written"):
        Annoy().restore(arrays | {"trees": damaged})
    with pytest.raises(SearchError, match="does not fit its vectors"):
        Annoy().restore(arrays | {"trees": others["trees"]})
    with pytest.raises(SearchError, match="search_k 0"):
        Annoy().restore(arrays | {"search_k": torch.tensor(0)})
