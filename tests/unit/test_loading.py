"""A bundle is mapped: processes share it, whoever has it goes on with it when it is replaced, and nobody changes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist import bundle as bundle_module
from shortlist.bundle import read_bundle
from shortlist.data import Dataset
from shortlist.model import Model, TrainedUntil
from shortlist.recommender import Recommender

SMAPS = Path("/proc/self/smaps_rollup")
ASKED = ["u00", "u03", "u07", "nobody"]


@pytest.fixture(scope="module")
def recommender(dataset: Dataset) -> Recommender:
    training = sl.Training(epochs=1, batch_size=32, patience=None)
    model = sl.fit(sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8), dataset, training=training)
    ranker = sl.fit(sl.DLRM(embedding_dim=4, bottom=(8,), top=(8,)), dataset, training=training)
    return Recommender(model, ranker=ranker, candidates=15)


@pytest.fixture
def saved(recommender: Recommender, tmp_path: Path) -> Path:
    recommender.save(tmp_path / "a.bundle")
    return tmp_path / "a.bundle"


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_who_has_a_bundle_goes_on_with_it_when_it_is_replaced_and_when_it_is_gone(
    recommender: Recommender, saved: Path
) -> None:
    before = recommender.recommend(ASKED, k=8)
    loaded = sl.load(saved)
    recommender.refresh(remove=[1, 2, 3]).save(saved)
    assert not sl.load(saved).recommend(ASKED, k=8).equals(before)
    assert loaded.recommend(ASKED, k=8).equals(before)
    shutil.rmtree(saved)
    assert loaded.recommend(ASKED, k=8).equals(before)
    assert loaded.recommend(["u00"], k=3, where="price > 5").equals(
        recommender.recommend(["u00"], k=3, where="price > 5")
    )
    loaded.save(saved)
    assert sl.load(saved).recommend(ASKED, k=8).equals(before)


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_as_a_whole(
    recommender: Recommender, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = recommender.refresh(remove=[1, 2, 3])
    read = bundle_module.read_tensors
    count = 0

    def replacing(path: Path) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            newer.save(saved)
        return read(path)

    monkeypatch.setattr(bundle_module, "read_tensors", replacing)
    assert sl.load(saved).recommend(ASKED, k=8).equals(newer.recommend(ASKED, k=8))
    assert count > 3


def test_a_loaded_model_trains_on_as_the_saved_one_and_leaves_the_file_alone(
    recommender: Recommender, saved: Path
) -> None:
    before = _files(saved)
    times = recommender.dataset.events.times
    assert times is not None
    newest = int(times.max())
    events = pl.DataFrame(
        {"user_id": ["u01", "u02"], "item_id": [4, 5], "rating": [5, 4], "timestamp": [newest + 1, newest + 2]}
    )
    training = sl.Training(epochs=2, batch_size=4, patience=None)
    bundle = read_bundle(saved)
    loaded = Model.from_part(bundle.parts["model"], bundle.dataset)
    one, other = (
        sl.fit_partial(model, events, training=training).network.state_dict()
        for model in (recommender.funnel.retriever, loaded)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(values, other[name]) for name, values in one.items())
    with torch.no_grad():
        for values in loaded.network.parameters():
            values.zero_()  # which changes this process's copy
    assert _files(saved) == before
    assert sl.load(saved).recommend(ASKED, k=8).equals(recommender.recommend(ASKED, k=8))


ITEMS, WIDTH = 200_000, 64

LOADED = """
import json, sys
from pathlib import Path
import torch, faiss, polars
import shortlist as sl

def private_mb():
    told = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(size) for name, size, *_ in told if name in ("Private_Clean:", "Private_Dirty:")) / 1024

sl.load, sl.Recommender
before = private_mb()
recommender = sl.load(sys.argv[1])
for user in range(20):
    answer = recommender.recommend([f"u{user}"], k=10)
titles = recommender.titles(answer["item_id"].to_list())
print(json.dumps({"more": private_mb() - before, "answer": answer["item_id"].to_list(), "titles": titles}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200,000 items of width 64, by an exact index: 160 MB of files."""
    ids = [f"i{item:06d}" for item in range(ITEMS)]
    items = pl.DataFrame({"item_id": ids, "title": [f"The item of number {item}" for item in ids]})
    events = pl.DataFrame(
        {"user_id": [f"u{place // 10}" for place in range(1000)], "item_id": ids[::200], "timestamp": range(1000)}
    )
    dataset = sl.read_dataset(events, items=items, schema={"title": "title"})
    settings = sl.SASRec(embedding_dim=WIDTH, history=20, num_blocks=1)
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue()).eval()
    model = Model(settings, network, dataset, dataset.catalogue(), TrainedUntil.of(dataset))
    path = tmp_path_factory.mktemp("large") / "a.bundle"
    Recommender(model, index=sl.Exact()).save(path)
    return path


@pytest.mark.skipif(not SMAPS.exists(), reason="the system does not say what memory a process has for itself")
def test_a_second_process_adds_little_to_what_the_first_has_mapped(large: Path) -> None:
    """Vectors, weights, ids and titles are 160 MB, and were several times that as objects of each process."""
    size_mb = sum(file.stat().st_size for file in large.iterdir()) / 2**20
    assert size_mb > 100
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    processes, told = [], []
    try:
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", LOADED, str(large)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            assert process.stdout is not None
            told.append(json.loads(process.stdout.readline()))
    finally:
        for process in processes:
            process.communicate()
    assert told[0]["answer"] == told[1]["answer"]
    assert told[1]["titles"] == [f"The item of number {item}" for item in told[1]["answer"]]
    assert told[1]["more"] < 35
    assert told[1]["more"] < size_mb / 3
