"""ScaNN: what is asked for, what is reached, and what a damaged file does."""

from __future__ import annotations

import importlib
import io
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shortlist.errors import MissingExtraError, SearchError, SettingsError, ShortlistWarning
from shortlist.index import Exact, ScaNN, recall
from shortlist.index.native import sealed, unsealed


@pytest.fixture
def _library() -> None:
    pytest.importorskip("scann", reason="comes with the extra 'scann'")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_setting_out_of_range_is_named_with_its_range() -> None:
    with pytest.raises(SettingsError, match=r"ScaNN.recall is 0. It is above 0 and below 1"):
        ScaNN(recall=0)
    for name in ("leaves", "leaves_to_search", "reorder"):
        with pytest.raises(SettingsError, match=rf"ScaNN.{name} is 0. It is a whole number from 1 to"):
            ScaNN(**{name: 0})


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def without(name: str, *arguments: Any) -> Any:
        if name == "scann":
            raise ImportError(name)
        return found(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=r'needs scann.*pip install "shortlist\[scann\]"'):
        ScaNN().build(torch.arange(1, 4), torch.ones(3, 2))
    with pytest.raises(MissingExtraError, match=r'pip install "shortlist\[scann\]"'):
        ScaNN().restore(Exact().build(torch.arange(1, 4), torch.ones(3, 2)).arrays())


@pytest.mark.usefixtures("_library")
def test_more_recall_is_asked_for_and_reached_with_more_work() -> None:
    items, vectors, queries = torch.arange(1, 8_001), random(8_000, 16), random(400, 16, seed=1)
    truth = Exact().build(items, vectors).search(queries[200:], 100)
    looked = []
    for wanted in (0.8, 0.98):
        index = ScaNN(recall=wanted).build(items, vectors, queries=queries[:200])
        assert float(recall(index.search(queries[200:], 100), truth=truth).mean()) >= wanted - 0.01
        looked.append(index.tuned.leaves_to_search)
    assert looked[0] < looked[1] < index.tuned.leaves


@pytest.mark.usefixtures("_library")
def test_settings_that_are_given_are_used_and_may_be_too_little() -> None:
    items, vectors = torch.arange(1, 3_001), random(3_000, 16)
    given = ScaNN(leaves=40, leaves_to_search=5, reorder=3)
    assert given.build(items, vectors).tuned == given
    with pytest.warns(ShortlistWarning, match=r"ScaNN reached recall 0\.\d+ of the 0.95.*leaves_to_search=1 of 40"):
        ScaNN(leaves=40, leaves_to_search=1).build(items, vectors)


@pytest.mark.usefixtures("_library")
def test_the_same_seed_gives_the_same_files_and_another_seed_others() -> None:
    items, vectors = torch.arange(1, 1_001), random(1_000, 8)
    fixed = {"leaves_to_search": 3, "reorder": 2}
    first, *same = (ScaNN(seed=3, **fixed).build(items, vectors).arrays()["files"] for _ in range(4))
    assert all(torch.equal(first, other) for other in same)
    assert not torch.equal(first, ScaNN(seed=4, **fixed).build(items, vectors).arrays()["files"])


@pytest.mark.usefixtures("_library")
def test_more_than_the_catalogue_never_reaches_the_library() -> None:
    """It ends the process where more is asked for than there is."""
    index = ScaNN(reorder=10_000).build(torch.arange(1, 301), random(300, 8))
    for k in (299, 300, 1_000):
        assert index.search(random(3, 8), k).valid.sum(1).tolist() == [min(k, 300)] * 3


@pytest.mark.usefixtures("_library")
def test_threads_give_what_one_thread_gives() -> None:
    index = ScaNN().build(torch.arange(1, 5_001), random(5_000, 16))
    queries = random(300, 16, seed=1)
    alone = index.search(queries, 50)
    torch.set_num_threads(2)
    together = index.search(queries, 50)
    torch.set_num_threads(1)
    assert torch.equal(alone.items, together.items)
    assert torch.equal(alone.scores, together.scores)


@pytest.mark.usefixtures("_library")
def test_files_that_are_not_as_written_or_not_its_own_are_refused() -> None:
    arrays = ScaNN().build(torch.arange(1, 1_001), random(1_000, 8)).arrays()
    with zipfile.ZipFile(io.BytesIO(unsealed(arrays, "files").tobytes())) as reader:
        assert not [name for name in reader.namelist() if name.endswith("pkl") or name == "dataset.npy"]
    damaged = arrays["files"].clone()
    damaged[900] ^= 1
    with pytest.raises(SearchError, match="'files'.*not what was written"):
        ScaNN().restore(arrays | {"files": damaged})
    archive = io.BytesIO()
    for name in ("scann_docids.pkl", "../escaped.pb"):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as writer:
            writer.writestr(name, b"anything")
        foreign = sealed(np.frombuffer(archive.getvalue(), dtype=np.uint8))
        with pytest.raises(SearchError, match="refused"):
            ScaNN().restore(arrays | {"files": foreign})
    with pytest.raises(SearchError, match="1 or more"):
        ScaNN().restore(arrays | {"reorder": torch.tensor(0)})
