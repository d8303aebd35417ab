"""Tables of labelled rows without users and items: read, split, learnt from and predicted."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import read_later
from shortlist.errors import DataError, SchemaError, ShortlistError, ShortlistWarning, TrainingError

ROWS = pl.DataFrame({"colour": ["red", "blue", "red", None] * 50, "size": [1.0, 2.0, 3.0, 4.0] * 50,
                     "tags": [["a"], ["a", "b"], [], ["c"]] * 50, "same": ["x"] * 200, "click": ([1, 0, 1, 0] * 9 + [0, 1, 0, 1]) * 5})  # fmt: skip


def test_a_label_without_items_makes_a_table_whose_columns_are_features() -> None:
    dataset = sl.read_dataset(ROWS, schema={"label": "click"})
    assert dataset.schema.is_tabular
    assert {feature.name: feature.kind for feature in dataset.schema.features} == {
        "colour": "categorical", "size": "numeric", "tags": "multi",
    }  # fmt: skip
    assert (dataset.num_users, dataset.num_items, len(dataset.events)) == (0, 0, 200)
    assert dataset.context is not None
    assert dataset.events.liked is not None
    assert dataset.events.liked.tolist() == ([True, False] * 18 + [False, True] * 2) * 5
    assert any("left out same (it has one value)" in note for note in dataset.notes)


def test_texts_that_would_fill_the_memory_are_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, frame = (
        tmp_path / "clicks.parquet",
        ROWS.drop("tags").with_columns(code=pl.Series([str(i % 7) for i in range(200)])),
    )
    frame.write_parquet(path)
    expected = sl.read_dataset(path, schema={"label": "click"})
    monkeypatch.setattr("shortlist.data.read.MOST_TEXT_BYTES", 0)
    found = sl.read_dataset(path, schema={"label": "click"})
    assert expected.context is not None
    assert found.context is not None
    for name in ("categorical", "numeric"):
        assert torch.equal(getattr(found.context, name), getattr(expected.context, name))
    assert found.encoders.to_dict() == expected.encoders.to_dict()


def test_a_table_describes_its_rows_labels_and_crosses() -> None:
    dataset = sl.read_dataset(
        ROWS.with_columns(shape=pl.Series(["round", "flat"] * 100)),
        schema={"label": "click", "cross": [["colour", "shape"]]},
    )
    lines = dataset.describe().splitlines()
    assert lines[0] == "rows     200, 50.0% labelled 1, no timestamps"
    assert "crosses  colour x shape" in lines


def test_the_columns_of_ids_may_be_features_of_a_table() -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"] * 20, "item_id": [1, 2] * 20, "label": [0, 1] * 18 + [1, 0] * 2})
    dataset = sl.read_dataset(frame, schema={"item_id": None})
    assert [feature.name for feature in dataset.schema.features] == ["user_id", "item_id"]
    with pytest.raises(SchemaError, match=r"set user_id = None"):
        sl.read_dataset(frame, schema={"item_id": None, "user_id": "user_id"})
    with pytest.raises(SchemaError, match=r"schema\.label or schema\.rating"):
        sl.read_dataset(frame.drop("label"), schema={"item_id": None})
    with pytest.raises(SchemaError, match=r"Of a table of labelled rows without items, set schema"):
        sl.read_dataset(frame.drop("item_id"))


@pytest.mark.parametrize("settings", [sl.DeepFM(hidden=(8,)), sl.DLRM(embedding_dim=4, bottom=(8,), top=(8,))])
def test_rankers_learn_the_labels_of_a_table(settings: sl.DeepFM | sl.DLRM) -> None:
    dataset = sl.read_dataset(ROWS, schema={"label": "click"})
    train, valid, test = sl.split_random(dataset, valid=0.2, test=0.2)
    training = sl.Training(epochs=30, batch_size=32, learning_rate=0.02, metric="logloss")
    model = sl.fit(settings, train, validation=valid, training=training)
    assert model.log is not None
    assert list(model.log.epochs[0].metrics) == ["logloss"]
    report = sl.evaluate(model, test, metrics=["auc", "logloss", "ne", "calibration"])
    assert report["auc"].value > 0.8  # a tenth of the labels is turned round
    assert report["ne"].value < 0.8
    scores = model.score(pl.DataFrame({"colour": ["red", "never seen"], "size": [1.0, None], "tags": [["a"], ["new"]]}))
    assert scores.shape == (2,)
    assert torch.isfinite(scores).all()
    again = sl.fit(settings, train, training=sl.Training(epochs=1, batch_size=32))  # judged by a tenth of its own
    assert again.log is not None
    assert list(again.log.epochs[0].metrics) == ["auc"]


@pytest.mark.parametrize("settings", [sl.TwoTower(), sl.ALS(), sl.SASRec(), sl.NeuMF(), sl.CrossAttention()])
def test_models_of_items_say_that_a_table_has_none(settings: sl.TwoTower) -> None:
    dataset = sl.read_dataset(ROWS, schema={"label": "click"})
    with pytest.raises(ShortlistError, match=r"a table of rows without"):
        sl.fit(settings, dataset)


def test_a_later_file_is_read_with_the_encoders_of_the_first() -> None:
    dataset = sl.read_dataset(ROWS, schema={"label": "click"})
    more = pl.DataFrame({"colour": ["green", "red"], "size": [2.5, 1.0], "tags": [["b"], []], "click": [0, 1]})
    later = read_later(more, dataset)
    own = later.own()
    assert own.sum() == 2
    assert later.context is not None
    assert dataset.context is not None
    assert later.context.categorical is not None
    assert dataset.context.categorical is not None
    assert later.context.categorical[own, 0].tolist() == [0, int(dataset.context.categorical[0, 0])]


def test_libfm_lines_are_rows_of_categories(tmp_path: Path) -> None:
    path = tmp_path / "rows.libfm"
    path.write_text("-1 3:1 7:1\n1 4:1 7:1\n1 3:1 8:1\n")
    dataset = sl.read_dataset(path, format="libfm", schema={"item_id": None})
    assert [feature.name for feature in dataset.schema.features] == ["field_1", "field_2"]
    assert dataset.events.liked is not None
    assert dataset.events.liked.tolist() == [False, True, True]
    for text, message in (("1 3:1\n1 3:1 4:1\n", r"line 2 has 2 fields and line 1 has 1"),
                          ("1 3:1\n0 3:0.5\n", r"line 2 has '3:0\.5'"),
                          ("2 3:1\n1 4:1\n", r"holds 2\.0\. Labels are 0 or 1")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            sl.read_dataset(path, format="libfm", schema={"item_id": None})


def test_a_column_that_knows_the_label_is_warned_of() -> None:
    draw = torch.Generator().manual_seed(0)
    click = torch.randint(0, 2, (4000,), generator=draw)
    other = torch.randint(0, 50, (4000,), generator=draw)
    paid = torch.where(click > 0, 5.0, 0.0) + torch.rand(4000, generator=draw)
    state = [f"{'bought' if value else 'left'}-{number % 7}" for number, value in enumerate(click.tolist())]
    frame = pl.DataFrame(
        {"click": click.tolist(), "paid": paid.tolist(), "state": state, "other": [f"o{value}" for value in other]}
    )
    with pytest.warns(ShortlistWarning) as seen:
        sl.read_dataset(frame, schema={"label": "click"})
    assert [str(each.message).split("'")[1] for each in seen] == ["state", "paid"]
    assert "alone tells the labels apart (AUC 1.000)" in str(seen[0].message)


def test_labels_of_one_kind_are_refused() -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"] * 20, "item_id": [1, 2, 3, 4] * 10, "label": [1] * 40})
    with pytest.raises(
        TrainingError, match=r"All 40 events.*labelled 1.*set schema\.label = None, and negatives are sampled"
    ):
        sl.fit(sl.NeuMF(), sl.read_dataset(frame, schema={"label": "label"}))
    sl.fit(sl.NeuMF(), sl.read_dataset(frame, schema={"label": None}), training=sl.Training(epochs=1, patience=None))


def test_labels_rules_and_numbers_may_be_text_or_truth_values() -> None:
    rows = {"colour": ["red", "blue", "blue"] * 40, "new": [True, False] * 60, "label": ["1", "0", "0", "1"] * 30}
    dataset = sl.read_dataset(pl.DataFrame(rows), schema={"label": "label"})
    assert dataset.events.liked is not None
    assert dataset.events.liked.tolist() == [True, False, False, True] * 30
    flag = {"features": [{"name": "new", "kind": "numeric", "owner": "context"}]}
    numeric = sl.read_dataset(pl.DataFrame(rows).drop("colour"), schema={"label": "label", **flag})
    assert numeric.context is not None
    assert numeric.context.numeric is not None
    assert numeric.context.numeric[:2, 0].tolist() == [1.0, -1.0]
    with pytest.warns(ShortlistWarning, match="'answer' alone tells the labels apart"):
        ruled = sl.read_dataset(
            pl.DataFrame(rows).with_columns(answer=pl.Series(["yes", "yes", "no"] * 40)),
            schema={"label": "label", "positive": "starts_with(answer, 'n')"},
        )
    assert ruled.events.liked is not None
    assert ruled.events.liked.tolist() == [False, False, True] * 40


def test_a_table_of_ratings_needs_a_loss_of_ratings() -> None:
    frame = pl.DataFrame({"shop": ["a", "b"] * 20, "stars": [1, 5] * 20})
    dataset = sl.read_dataset(frame, schema={"rating": "stars"})
    with pytest.raises(TrainingError, match=r'DeepFM learns labels, and the rows have ratings\. Set its loss to "mse"'):
        sl.fit(sl.DeepFM(), dataset)
    training = sl.Training(epochs=30, batch_size=8, learning_rate=0.05, patience=None)
    model = sl.fit(sl.DeepFM(hidden=(4,), loss="mse"), dataset, training=training)
    assert sl.evaluate(model, dataset, metrics=["rmse"])["rmse"].value < 1


def test_a_model_is_saved_and_predicts_as_before(tmp_path: Path) -> None:
    dataset = sl.read_dataset(ROWS, schema={"label": "click"})
    model = sl.fit(sl.DeepFM(hidden=(8,)), dataset, training=sl.Training(epochs=2, patience=None))
    model.save(tmp_path / "model")
    again = sl.Model.load(tmp_path / "model")
    assert len(again.dataset.events) == 0  # the rows are not kept
    assert torch.equal(model.predict(ROWS), again.predict(ROWS))
    assert torch.equal(torch.sigmoid(model.score(ROWS)), model.predict(ROWS))
