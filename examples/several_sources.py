"""Three sources, one ranker, and an answer that is filtered, varied and explained, in a made-up shop."""

from __future__ import annotations

import sys

import polars as pl

import shortlist as sl
from shortlist.data.synthetic import make_shop

CANDIDATES = 60


def main(users: int, events: int, epochs: int) -> None:
    """Train on a shop of that size; say what each source finds, and show one user's shortlist."""
    shop = make_shop(users=users, items=max(users // 2, 200), events=events, seed=5)
    dataset = sl.read_dataset(shop.events, items=shop.items, users=shop.users)
    train, valid, test = sl.split_by_time(dataset, valid=0.1, test=0.1)

    training = sl.Training(epochs=epochs, batch_size=256)
    recommender = sl.train(
        train,
        validation=valid,
        retriever=[
            sl.TwoTower(embedding_dim=32),
            sl.SASRec(embedding_dim=32, history=30),
            sl.Popularity(half_life_days=7),
        ],
        ranker=sl.NeuMF(),
        candidates=CANDIDATES,
        training=training,
    )
    models = [source.model for source in recommender.funnel.sources]
    made = {model.name: sl.Recommender(model) for model in models}
    for name, each in (made | {"union": sl.Recommender(models), "ranked": recommender}).items():
        report = sl.evaluate(each, test, metrics=[f"recall@{CANDIDATES}", "ndcg@10"])
        print(f"{name:<10}", *(f"{found.metric} {found.value:.4f} " for found in report.metrics))

    someone = recommender.known_users()[0]
    about = shop.items.select("item_id", "title", "category", "price")

    def show(title: str, found: pl.DataFrame) -> None:
        print(f"\n{title}\n{found.join(about, on='item_id', maintain_order='left').select(about.columns)}")

    category = shop.items["category"][0]
    show("as it is", recommender.recommend([someone], k=6))
    show("varied", recommender.recommend([someone], k=6, diversity=0.3, caps={"category": 2}))
    cheap = f"category = '{category}' and price < {shop.items['price'].median()}"
    show(cheap, recommender.recommend([someone], k=6, where=cheap))

    first = recommender.recommend([someone], k=1)["item_id"][0]
    print(f"\nwhy {first}\n{recommender.explain(someone, first).head(5)}")


if __name__ == "__main__":
    sizes = [int(number) for number in sys.argv[1:]] or [1_000, 20_000, 5]
    main(*sizes)
