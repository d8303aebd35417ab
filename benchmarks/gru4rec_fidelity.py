"""GRU4Rec by whole sessions beside the authors' session-parallel training: quality after the same epochs.

    python benchmarks/gru4rec_fidelity.py --data DIR [--epochs 5] [--peer "a command that prints the release's figures"]

Trains on Diginetica without its last tenth of sessions (in the file's order), by the release's settings: hidden 100, tied
embeddings, 2,048 shared negatives by the square root of their popularity, cross-entropy with logQ, Adagrad, sessions in
their order. Judged by
the last item of each held-out session among all items, repeats allowed; items that training has not met are left out of
sessions, and sessions whose last item is such are skipped. Writes ``benchmarks/results/gru4rec_fidelity.json``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

import shortlist as sl
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "gru4rec_fidelity.json"
SETTINGS = sl.GRU4Rec(hidden=(100,), negatives=2048, popularity_power=0.5, logq=1.0, shuffled=False, sparse=True)
METRICS = ["recall@20", "mrr@20", "ndcg@10"]


def read(path: Path) -> tuple[sl.Dataset, sl.Dataset]:
    """Training sessions, and held-out ones whose last event is to be found."""
    sessions = [line.split() for line in path.read_text().splitlines()]
    kept = len(sessions) - len(sessions) // 10
    met = {item for session in sessions[:kept] for item in session}
    held = [session for session in sessions[kept:] if len(session) > 1 and session[-1] in met]
    held = [[item for item in session if item in met] for session in held]
    held = [session for session in held if len(session) > 1]
    every = [*sessions[:kept], *held]
    frame = pl.DataFrame({"session_id": range(len(every)), "item_id": every}).explode("item_id")
    dataset = sl.read_dataset(frame, schema={"sequence": "session"})
    train, _, test = sl.split_sessions(dataset, valid=0, test=len(held))
    return train, test


def last_only(test: sl.Dataset) -> sl.Dataset:
    """The same with the last event of each session as its own."""
    ends = test.events.offsets[1:]
    return replace(test, target_start=ends - (test.events.lengths > 0).long())


def train_and_judge(
    train: sl.Dataset, test: sl.Dataset, *, epochs: int, batch_size: int, rate: float
) -> dict[str, Any]:
    """Our figures after ``epochs`` epochs."""
    training = sl.Training(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adagrad",
        learning_rate=rate,
        patience=None,
        precision="bfloat16",
    )
    model = sl.fit(SETTINGS, train, training=training)
    assert model.log is not None
    report = sl.evaluate(model, test, metrics=METRICS, exclude_seen=False)
    return {
        "learning_rate": rate,
        "epochs": epochs,
        "batch_size": batch_size,
        **{name: round(report[name].value, 4) for name in METRICS},
        "interval_95": {name: [round(report[name].low or 0, 4), round(report[name].high or 0, 4)] for name in METRICS},
        "sessions": report.num_users,
        "loss": [round(record.loss, 4) for record in model.log.epochs],
        "seconds_an_epoch": round(model.log.seconds / epochs, 1),
    }


def main() -> None:
    """Train, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=133, help="sessions; 133 have as many targets as 512 steps")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.05, 0.1])
    parser.add_argument("--peer", action="append", default=[], help="a command that ends with a line of JSON")
    arguments = parser.parse_args()
    train, test = read(arguments.data / "diginetica" / "train_sessions.plain.txt")
    test = last_only(test)
    ours, release = [], []
    for rate in arguments.learning_rates:
        ours.append(train_and_judge(train, test, epochs=arguments.epochs, batch_size=arguments.batch, rate=rate))
        print("ours", ours[-1], flush=True)
    for command in arguments.peer:
        output = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
        release.append(json.loads(output.strip().splitlines()[-1]))
        print("release", release[-1], flush=True)
    result = {"machine": facts(), "settings": repr(SETTINGS), "ours": ours, "release": release}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
