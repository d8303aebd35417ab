"""Texts, pictures and vectors from files to answers: on the command line, and through a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.data.synthetic_looks import make_looks
from shortlist.errors import DataError, RequestError, SchemaError

Run = Callable[..., Any]
TRAIN = ("--set", "training.epochs=1", "--set", "retriever.embedding_dim=8", "--set", "index.type=exact")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Events, and items with a description, the path of a picture beside the file, and a vector as text."""
    folder = tmp_path_factory.mktemp("looks")
    made = make_looks(users=40, items=60, events=900, cold=0)
    (folder / "img").mkdir()
    for item_id, photo in made.items.select("item_id", "photo").iter_rows():
        (folder / "img" / f"{item_id}.png").write_bytes(photo)
    made.events.write_csv(folder / "events.csv")
    vectors = [f"[{look}.5, 1, 0]" for look in made.looks]
    items = made.items.with_columns(photo="img/" + pl.col("item_id") + ".png", code=pl.Series(vectors))
    items.write_csv(folder / "items.csv")
    return folder / "events.csv", folder / "items.csv"


def test_a_text_and_a_picture_are_found_in_a_file_and_reach_the_answers(
    files: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    events, items = files
    trained = run("train", events, "--items", items, *TRAIN, "--out", tmp_path / "a.bundle")
    assert trained.exception is None, trained.output
    for words in ("item.photo (image)", "item.description (text)"):
        assert words in " ".join(trained.output.split())
    layout = sl.load(tmp_path / "a.bundle").dataset.item_features.layout
    assert (layout.vectors, layout.images) == ((60,), (32,))
    rows = json.loads(run("recommend", tmp_path / "a.bundle", "--user", "u0001", "--k", 5, "--json").stdout)
    assert len(rows) == 5


def test_kinds_and_their_settings_are_set_on_the_command_line(
    files: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    events, items = files
    features = (
        '[{name="description", kind="text", owner="item", encoder="tfidf", dim=6}, '
        '{name="photo", kind="image", owner="item", size=16}, {name="code", kind="vector", owner="item"}]'
    )
    stated = ("--set", f"data.schema.features={features}")
    trained = run(
        "train", events, "--items", items, *TRAIN, *stated, "--ranker", "deepfm", "--out", tmp_path / "a.bundle"
    )
    assert trained.exception is None, trained.output
    layout = sl.load(tmp_path / "a.bundle").dataset.item_features.layout
    assert (layout.vectors, layout.images) == ((6, 3), (16,))
    assert run("evaluate", tmp_path / "a.bundle", "--json").exception is None
    wrong = features.replace("dim=6", "dimm=6")
    result = run(
        "train", events, "--items", items, "--set", f"data.schema.features={wrong}", "--out", tmp_path / "b.bundle"
    )
    assert isinstance(result.exception, SchemaError)
    assert "Did you mean 'dim'" in str(result.exception)


def test_a_picture_that_is_not_there_is_named(files: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    events, items = files
    table = pl.read_csv(items).with_columns(
        photo=pl.when(pl.int_range(60) == 7).then(pl.lit("img/lost.png")).otherwise("photo")
    )
    table.write_csv(items.with_name("torn.csv"))
    result = run("train", events, "--items", items.with_name("torn.csv"), *TRAIN, "--out", tmp_path / "a.bundle")
    assert isinstance(result.exception, DataError)
    assert "The picture of feature 'photo' in row 8 (img/lost.png) cannot be read" in str(result.exception)


def test_a_loaded_recommender_reads_a_requests_context_as_before(rich_dataset: Dataset, tmp_path: Path) -> None:
    training = sl.Training(epochs=1, batch_size=32, patience=None)
    settings = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8)
    recommender = sl.Recommender(sl.fit(settings, rich_dataset, training=training))
    recommender.save(tmp_path / "a.bundle")
    again = sl.load(tmp_path / "a.bundle")
    assert again.dataset.encoders == rich_dataset.encoders
    for owner in ("item_features", "context"):
        before, after = getattr(rich_dataset, owner), getattr(again.dataset, owner)
        assert before.layout == after.layout
        assert before.tensors().keys() == after.tensors().keys()
        assert all(torch.equal(table, after.tensors()[name]) for name, table in before.tensors().items())
    context = {"said": "words of no visit before", "mood": [0.25, -1.0]}
    one, other = (each.recommend(["u00", "u03"], k=8, context=context) for each in (recommender, again))
    assert one.equals(other)
    assert not one.equals(recommender.recommend(["u00", "u03"], k=8))
    with pytest.raises(DataError, match="row 1 has 3 numbers, where 2 are due"):
        again.recommend(["u00"], context={"mood": [0.25, -1.0, 3.0]})
    for name in ("shot", "mood"):
        with pytest.raises(RequestError, match=f"context gives '{name}' as text. A request names no files"):
            again.recommend(["u00"], context={name: "/etc/hostname"})
