"""Clicks with a planted cross, whose best AUC is known: what each ranker finds of it, and what a linear model does.

    python benchmarks/planted.py [--rows 200000]

A click depends on taste x moment x device alone: each of their values has a hidden sign, and the log-odds are ``STRENGTH``
times the product of the three. No column and no pair of columns says anything, so a linear model is at chance; the best
possible AUC is the chance that a row's sign is that of its label, sigmoid(STRENGTH). Writes
``benchmarks/results/planted.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

import shortlist as sl
from shortlist.evaluation import evaluate_predictions
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "planted.json"
STRENGTH = 1.5
SIZES = {"taste": 40, "moment": 14, "device": 6, "country": 30, "age": 8}  # the last two say nothing
RANKERS: dict[str, Any] = {
    "DeepFM": sl.DeepFM(hidden=(64, 64), init_std=0.05),
    "DLRM": sl.DLRM(embedding_dim=16, top=(64, 64)),
}


def clicks(num: int, *, seed: int) -> pl.DataFrame:
    """Rows of the columns in ``SIZES``, and their clicks; half of a column's values have the sign + and half -."""
    draw = torch.Generator().manual_seed(seed)
    columns = {name: torch.randint(0, size, (num,), generator=draw) for name, size in SIZES.items()}
    sign = torch.ones(num)
    for name in ("taste", "moment", "device"):
        signs = torch.arange(SIZES[name]).remainder(2) * 2 - 1
        sign *= signs[torch.randperm(SIZES[name], generator=torch.Generator().manual_seed(SIZES[name]))][columns[name]]
    click = torch.rand(num, generator=draw) < torch.sigmoid(STRENGTH * sign)
    frame = {name: [f"{name}-{value}" for value in column.tolist()] for name, column in columns.items()}
    return pl.DataFrame(frame).with_columns(click=pl.Series(click.int().tolist()))


def linear(train: sl.Dataset, test: sl.Dataset) -> float:
    """The AUC of a logistic regression on the one-hot columns."""
    model = nn.EmbeddingBag(train.catalogue().context.num_ids, 1, mode="sum")  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ids, labels = train.context.categorical, train.events.liked  # type: ignore[union-attr]
    assert ids is not None
    assert labels is not None
    for _ in range(5):
        for rows in torch.split(torch.randperm(len(ids)), 1024):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(ids[rows])[:, 0], labels[rows].float()).backward()
            optimizer.step()
    own = test.own()
    with torch.no_grad():
        scores = torch.sigmoid(model(test.context.categorical[own])[:, 0])  # type: ignore[union-attr, index]
    return evaluate_predictions(scores.numpy(), labels=test.events.liked[own].numpy(), bootstrap=0)["auc"].value  # type: ignore[index]


def main() -> None:
    """Generate, learn, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dataset = sl.read_dataset(clicks(arguments.rows, seed=0), schema={"label": "click"})
    train, valid, test = sl.split_random(dataset, valid=0.1, test=0.2)
    best = float(torch.sigmoid(torch.tensor(STRENGTH)))
    found: dict[str, Any] = {"best possible": round(best, 4), "logistic regression": round(linear(train, test), 4)}
    for name, settings in RANKERS.items():
        started = time.perf_counter()
        training = sl.Training(epochs=20, batch_size=1024, learning_rate=2e-3, metric="auc", patience=4)
        model = sl.fit(settings, train, validation=valid, training=training)
        report = sl.evaluate(model, test, metrics=["auc"])
        found[name] = {
            "auc": round(report["auc"].value, 4),
            "interval_95": [round(report["auc"].low or 0, 4), round(report["auc"].high or 0, 4)],
            "seconds": round(time.perf_counter() - started, 1),
            "settings": repr(settings),
        }
        print(name, found[name], flush=True)
    print(found)
    result = {"machine": facts(), "rows": arguments.rows, "strength": STRENGTH, "auc": found}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
