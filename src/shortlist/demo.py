"""The whole product on a made-up shop whose best possible answer is known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.data import read_dataset, split_last_out
from shortlist.data.synthetic import Shop, make_shop
from shortlist.evaluation import Comparison, Report, compare
from shortlist.fitting import fit
from shortlist.models import NeuMF, Popularity, TwoTower
from shortlist.recommender import Recommender
from shortlist.training import Training
from shortlist.workflow import evaluate, train

METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found: the funnel and popularity on each user's last event, and the best that anyone could reach."""

    bundle: Path
    funnel: Report
    retriever: Report
    popularity: Report
    ceiling: float
    over_popularity: Comparison
    user: str
    history: pl.DataFrame
    shortlist: pl.DataFrame
    seconds: float

    @property
    def share_of_ceiling(self) -> float:
        """The funnel's NDCG@10 as a share of the ceiling's."""
        return self.funnel[METRIC].value / self.ceiling

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {
            "bundle": str(self.bundle),
            METRIC: {
                "funnel": self.funnel[METRIC].value,
                "retriever": self.retriever[METRIC].value,
                "popularity": self.popularity[METRIC].value,
                "ceiling": self.ceiling,
            },
            "share_of_ceiling": self.share_of_ceiling,
            "over_popularity": [self.over_popularity.low, self.over_popularity.high],
            "user": self.user,
            "history": self.history.to_dicts(),
            "shortlist": self.shortlist.to_dicts(),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        figures = (
            ("popularity", self.popularity[METRIC].value),
            ("retriever", self.retriever[METRIC].value),
            ("retriever + ranker", self.funnel[METRIC].value),
            ("ceiling (knows every taste)", self.ceiling),
        )
        lines = [f"NDCG@10 on the last event of {self.funnel.num_users:,} users, all items ranked:"]
        lines += [f"  {name:<28}{value:.4f}  {value / self.ceiling:5.0%} of the ceiling" for name, value in figures]
        lines += [f"  over popularity: {self.over_popularity}", "", f"What {self.user} took last:"]
        lines += [f"  {row['title']:<34}{row['category']}" for row in self.history.to_dicts()]
        lines += ["", f"What the recommender would show {self.user} now:"]
        lines += [f"  {row['rank']:>2}. {row['title']:<30}{row['category']}" for row in self.shortlist.to_dicts()]
        lines += [
            "",
            f"Wrote {self.bundle} after {self.seconds:.0f} s. Next:",
            f"  shortlist recommend {self.bundle} --user {self.user}",
            f"  shortlist evaluate {self.bundle}",
            f"  shortlist serve {self.bundle}",
        ]
        return "\n".join(lines)


def run_demo(out: str | Path, *, seed: int = 0, show: bool = False) -> DemoResult:
    """Make a shop, train a two-tower retriever and a NeuMF ranker on it, evaluate, and save the bundle ``out``."""
    started = time.perf_counter()
    shop = make_shop(seed=seed)
    dataset = read_dataset(shop.events, items=shop.items, users=shop.users)
    if show:
        print(dataset.describe(), end="\n\n")
    train_part, valid, test = split_last_out(dataset)
    recommender = train(
        train_part,
        validation=valid,
        retriever=TwoTower(temperature=0.2),
        ranker=NeuMF(),
        training=Training(epochs=12, batch_size=512, patience=2, seed=seed),
        ranker_training=Training(epochs=8, batch_size=512, learning_rate=3e-4, patience=2, seed=seed),
        show=show,
    )
    retriever = Recommender(recommender.funnel.retriever)
    popularity = Recommender(fit(Popularity(), train_part))
    reports = [evaluate(part, test, metrics=(METRIC, "hr@10")) for part in (recommender, retriever, popularity)]
    recommender = recommender.with_data(history=dataset, held_out=test)
    recommender.save(out)
    user = _busy_user(shop)
    details = shop.items.select("item_id", "title", "category")
    history = shop.events.filter(pl.col("user_id") == user).tail(5).join(details, on="item_id", maintain_order="left")
    shortlist = recommender.recommend([user], k=10).join(details, on="item_id", maintain_order="left")
    return DemoResult(
        bundle=Path(out),
        funnel=reports[0],
        retriever=reports[1],
        popularity=reports[2],
        ceiling=float(np.mean(shop.ceiling(shop.last_events(), k=10))),
        over_popularity=compare(reports[0], reports[2], metric=METRIC),
        user=user,
        history=history,
        shortlist=shortlist,
        seconds=time.perf_counter() - started,
    )


def _busy_user(shop: Shop) -> str:
    """The user with the most events: the one with the most to show."""
    counts = (
        shop.events.group_by("user_id", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    )
    user: str = counts["user_id"][0]
    return user
