"""From a frame of events to recommendations, in the order in which one would do it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import shortlist as sl
from shortlist.data.synthetic import make_shop


def main(users: int, events: int, epochs: int) -> None:
    """Train on a made-up shop of that size, evaluate, recommend, save and load."""
    shop = make_shop(users=users, items=max(users // 2, 200), events=events, seed=3)
    dataset = sl.read_dataset(shop.events, items=shop.items, users=shop.users)  # frames here; paths work as well
    print(dataset.describe())

    train, valid, test = sl.split_by_time(dataset, valid=0.1, test=0.1)
    recommender = sl.train(
        train,
        validation=valid,
        retriever=sl.TwoTower(embedding_dim=32),
        ranker=sl.NeuMF(),
        index=sl.Exact(),
        training=sl.Training(epochs=epochs, batch_size=256),
    )
    print(sl.evaluate(recommender, test, metrics=["recall@20", "ndcg@10"]))

    popularity = sl.Recommender(sl.fit(sl.Popularity(), train))
    reports = [sl.evaluate(part, test, metrics=["ndcg@10"]) for part in (recommender, popularity)]
    print("over popularity:", sl.compare(*reports))

    someone = recommender.known_users()[0]
    print(recommender.recommend([someone], k=5))
    some_items = shop.items["item_id"].to_list()[:2]
    print(recommender.recommend(events=[{"item_id": item} for item in some_items], k=5))  # somebody new
    print(recommender.similar_items(some_items[0], k=3))

    with tempfile.TemporaryDirectory() as folder:
        recommender.save(Path(folder) / "shop.bundle")
        again = sl.load(Path(folder) / "shop.bundle")
        assert again.recommend([someone], k=5).equals(recommender.recommend([someone], k=5))


if __name__ == "__main__":
    sizes = [int(number) for number in sys.argv[1:]] or [1_000, 20_000, 5]
    main(*sizes)
