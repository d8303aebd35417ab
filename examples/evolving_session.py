"""Sessions without users: train on them, judge every prefix, and watch recommendations follow a session as it grows."""

from __future__ import annotations

import random
import sys

import polars as pl

import shortlist as sl

AISLES = {"tea": 12, "coffee": 12, "baking": 12, "cleaning": 12}  # products in each


def make_sessions(num: int, seed: int) -> pl.DataFrame:
    """Visits to a shop: mostly one product after the next on a shelf, now and then a walk to another aisle."""
    draw, rows = random.Random(seed), []
    for session in range(num):
        aisle = draw.choice(list(AISLES))
        place = draw.randrange(AISLES[aisle])
        for _ in range(draw.randint(3, 8)):
            rows.append({"session_id": session, "item_id": f"{aisle} {place}"})
            if draw.random() < 0.1:
                aisle = draw.choice(list(AISLES))
            place = (place + 1) % AISLES[aisle]
    return pl.DataFrame(rows)


def main(sessions: int, epochs: int) -> None:
    """Train GRU4Rec and SASRec on such sessions and follow one."""
    dataset = sl.read_dataset(make_sessions(sessions, seed=1), schema={"sequence": "session"})
    train, valid, test = sl.split_sessions(dataset, valid=0.1, test=0.1)
    training = sl.Training(epochs=epochs, batch_size=32, learning_rate=5e-3)
    for settings in (sl.GRU4Rec(hidden=(32,), negatives=32), sl.SASRec(embedding_dim=32, history=10)):
        model = sl.fit(settings, train, validation=valid, training=training, exclude_seen=False)
        recommender = sl.Recommender(model)
        # Before every event of the test sessions; what a session has met may come again.
        print(sl.evaluate(recommender, test, metrics=["hr@3", "mrr@3"], exclude_seen=False))

        session: list[dict[str, str]] = []
        for item in ("tea 4", "tea 5", "baking 2", "baking 3"):
            session.append({"item_id": item})
            answer = recommender.recommend(events=session, k=3)
            print(f"{model.name:8} after {item:9}:", ", ".join(answer["item_id"]))


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[1:]] or [3_000, 6]
    main(*numbers)
