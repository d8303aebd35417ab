"""The command line on real files, from events to recommendations, and what it says when something is wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist.errors import BundleError, DataError, RequestError, SettingsError

Run = Callable[..., Any]


def test_train_says_which_columns_it_took_and_what_to_type_next(shop_files: Any) -> None:
    output = shop_files.trained.output
    for words in ("customer_id", "product_id", "ts", "shortlist evaluate", "shortlist serve"):
        assert words in output


def test_recommend_gives_k_new_items_with_titles(shop_files: Any, run: Run) -> None:
    user = pl.read_csv(shop_files.events)["customer_id"][0]
    result = run("recommend", shop_files.bundle, "--user", user, "--k", 7, "--json")
    rows = json.loads(result.stdout)
    seen = set(pl.read_csv(shop_files.events).filter(pl.col("customer_id") == user)["product_id"])
    assert [row["rank"] for row in rows] == list(range(1, 8))
    assert not seen & {row["item_id"] for row in rows}
    assert all(row["title"] and row["source"] == "model" for row in rows)
    table = run("recommend", shop_files.bundle, "--user", user, "--k", 7).output
    assert all(row["item_id"] in table for row in rows)


def test_recommend_by_a_condition_with_caps(shop_files: Any, run: Run) -> None:
    items = pl.read_parquet(shop_files.items)
    user, kind = pl.read_csv(shop_files.events)["customer_id"][0], items["category"][0]
    where = f"category = '{kind}' and price < {items['price'].median()}"
    rows = json.loads(
        run("recommend", shop_files.bundle, "--user", user, "--where", where, "--repeats", "--json").stdout
    )
    wanted = items.filter((pl.col("category") == kind) & (pl.col("price") < items["price"].median()))
    assert {row["item_id"] for row in rows} <= set(wanted["product_id"])
    assert len(rows) == min(10, len(wanted))
    options = ("--cap", "category=1", "--cap", "brand=2", "--diversity", 0.2, "--k", 4, "--json")
    shown = pl.DataFrame(json.loads(run("recommend", shop_files.bundle, "--user", user, *options).stdout))
    joined = shown.join(items, left_on="item_id", right_on="product_id")
    assert joined["category"].is_unique().all()
    assert len(joined) == 4


@pytest.mark.parametrize("option", [("--cap", "category"), ("--cap", "category=two"), ("--where", "categry = 1")])
def test_a_mistyped_filter_is_named(shop_files: Any, run: Run, option: tuple[str, str]) -> None:
    error = run("recommend", shop_files.bundle, "--all", *option).exception
    assert isinstance(error, RequestError)
    assert option[1].partition(" ")[0] in str(error)


def test_train_takes_several_retrievers(shop_files: Any, run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "several.bundle"
    options = ("--retriever", "mf", "--retriever", "popularity", "--ranker", "neumf", "--set", "training.epochs=1")
    more = ("--set", "retriever.1.half_life_days=7", "--set", "caps.category=3", "--set", "candidates=30", "--json")
    result = run("train", shop_files.events, "--items", shop_files.items, *options, *more, "--out", bundle)
    assert result.exception is None, result.output
    rows = json.loads(run("recommend", bundle, "--all", "--k", 5, "--json").stdout)
    categories = dict(pl.read_parquet(shop_files.items).select("product_id", "category").iter_rows())
    shown = pl.DataFrame(rows).with_columns(category=pl.col("item_id").replace_strict(categories))
    assert shown.group_by("user_id", "category").len()["len"].max() == 3
    assert "Where held-out items are lost" in run("evaluate", bundle).output


def test_recommend_all_writes_every_user(shop_files: Any, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    assert run("recommend", shop_files.bundle, "--all", "--k", 3, "--out", out).exit_code == 0
    frame = pl.read_parquet(out)
    assert frame["user_id"].n_unique() == 120
    assert frame.group_by("user_id").len()["len"].unique().to_list() == [3]


def test_unknown_users_get_what_is_popular(shop_files: Any, run: Run) -> None:
    rows = json.loads(run("recommend", shop_files.bundle, "--user", "nobody", "--json").stdout)
    assert len(rows) == 10


def test_evaluate_stands_beside_the_baselines(shop_files: Any, run: Run, tmp_path: Path) -> None:
    result = run("evaluate", shop_files.bundle, "--out", tmp_path / "report.json")
    for words in ("popularity", "item-kNN", "ALS", "recent popularity", "ndcg@10", "bundle"):
        assert words in result.output
    assert json.loads((tmp_path / "report.json").read_text())["num_users"] > 20


def test_evaluate_on_later_events(shop_files: Any, run: Run, tmp_path: Path) -> None:
    events = pl.read_csv(shop_files.events)
    later = events.group_by("customer_id", maintain_order=True).first().with_columns(ts=events["ts"].max() + 1)
    later = later.with_columns(product_id=events["product_id"].sample(len(later), seed=0))
    later.write_csv(tmp_path / "later.csv")
    result = run("evaluate", shop_files.bundle, tmp_path / "later.csv", "--json")
    assert json.loads(result.stdout)["bundle"]["num_users"] > 20


def test_validate_reads_only(shop_files: Any, run: Run) -> None:
    result = run("validate", shop_files.events, "--items", shop_files.items)
    assert "2,400" in result.output
    assert "product_id" in result.output


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["train", "nowhere.csv", "--out", "x.bundle"], DataError, "nowhere.csv"),
        (["train", "EVENTS", "--retriever", "two_towre", "--out", "x.bundle"], SettingsError, "two_tower"),
        (["train", "EVENTS", "--set", "training.epoch=3", "--out", "x.bundle"], SettingsError, "epochs"),
        (["train", "EVENTS", "--set", "retriever.embeding_dim=3", "--out", "x.bundle"], SettingsError, "embedding_dim"),
        (["train", "EVENTS", "--set", "training", "--out", "x.bundle"], SettingsError, "key.path=value"),
        (["evaluate", "nowhere.bundle"], BundleError, "nowhere.bundle"),
        (["recommend", "BUNDLE"], RequestError, "--user"),
        (["recommend", "BUNDLE", "--user", "u", "--k", "0"], RequestError, "k is 0"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(
    arguments: list[str],
    kind: type[Exception],
    words: str,
    shop_files: Any,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"EVENTS": str(shop_files.events), "BUNDLE": str(shop_files.bundle)}
    result = run(*(places.get(argument, argument) for argument in arguments))
    assert isinstance(result.exception, kind)
    assert words in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from shortlist.cli import main; main()", "evaluate", "nowhere.bundle"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no bundle nowhere.bundle")
    assert len(done.stderr.strip().splitlines()) == 1


def test_train_as_json_says_what_was_measured_of_the_index(shop_files: Any, run: Run, tmp_path: Path) -> None:
    result = run("train", shop_files.events, "--retriever", "als", "--out", tmp_path / "a.bundle", "--json")
    assert "recall@" in json.loads(result.stdout)["index"]
    result = run("train", shop_files.events, "--retriever", "popularity", "--out", tmp_path / "b.bundle", "--json")
    assert json.loads(result.stdout)["index"] is None


def test_a_table_of_clicks_is_trained_judged_and_scored(run: Run, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [(draw.choice("abc"), draw.choice(["web", "app"]), draw.random()) for _ in range(400)]
    clicks = [int((letter == "a") == (device == "app")) for letter, device, _ in rows]
    frame = pl.DataFrame(rows, schema=["letter", "device", "price"], orient="row").with_columns(click=pl.Series(clicks))
    frame.write_csv(tmp_path / "clicks.csv")
    label = ("--set", "data.schema.label=click", "--set", "training.learning_rate=0.01")
    done = run("train", tmp_path / "clicks.csv", *label, "--ranker", "dlrm", "--out", tmp_path / "clicks.bundle")
    assert "auc" in done.output
    assert "shortlist score" in done.output
    run("score", tmp_path / "clicks.bundle", tmp_path / "clicks.csv", "--out", tmp_path / "scores.parquet")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.columns == [*frame.columns, "prediction"]
    means = dict(scores.group_by("click").agg(pl.col("prediction").mean()).iter_rows())
    assert means[1] > means[0]
    refused = run("recommend", tmp_path / "clicks.bundle", "--user", "1").exception
    assert isinstance(refused, BundleError)
    assert "sl.Model.load" in str(refused)
    refused = run("train", tmp_path / "clicks.csv", "--set", "ranker.dropout=0.1", "--out", tmp_path / "x").exception
    assert isinstance(refused, SettingsError)
    assert "ranker has settings (dropout) and no type" in str(refused)
    refused = run("train", tmp_path / "clicks.csv", *label, "--retriever", "sasrec", "--out", tmp_path / "x").exception
    assert isinstance(refused, SettingsError)
    assert "nothing to retrieve" in str(refused)
    refused = run(
        "score", tmp_path / "clicks.bundle", tmp_path / "scores.parquet", "--out", tmp_path / "y.csv"
    ).exception
    assert isinstance(refused, RequestError)
