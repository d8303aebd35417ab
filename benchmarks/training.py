"""Training speed and what one epoch teaches, beside peers: whole epochs of ``fit``, batches and optimiser included.

    python benchmarks/training.py --data DIR [--clicks FOLDER] [--rounds 3] [--steps 100] [--only NAME] [--peer "python benchmarks/peers/… "]
    python benchmarks/training.py --data DIR --clicks FOLDER --export ARRAYS

``--clicks`` is a folder made by ``benchmarks/click_log.py``. ``--export`` writes the encoded rows that rankers learn from
as ``.npz`` files for peers, so that all learn the same. Each ``--peer`` is a command that ends with one line of JSON (see
benchmarks/peers). The first round is a whole epoch of everything, and gives the AUC; further ones are of ``--steps`` steps
(of small batches more are needed for a steady speed), which is added to the peers' commands. Ours and theirs take turns, and the median speed counts. Writes
``benchmarks/results/training.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import shortlist as sl
from shortlist.data import read_later
from shortlist.evaluation import evaluate_predictions
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "training.json"
WIDE: dict[str, Any] = {"embedding_dim": 64, "bottom": (512, 256), "top": (512, 256), "sparse": True}


@dataclass(frozen=True)
class Contender:
    """A model, what it learns from, and how."""

    data: str
    settings: Any
    training: sl.Training


def _training(batch_size: int, optimizer: Any, learning_rate: float, precision: Any = "bfloat16") -> sl.Training:
    return sl.Training(
        epochs=1,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        precision=precision,
        patience=None,
    )


CONTENDERS = {
    "NeuMF, 8192": Contender("ml-1m", sl.NeuMF(), _training(8192, "adam", 1e-3, "float32")),
    "NeuMF, 256": Contender("ml-1m", sl.NeuMF(), _training(256, "adam", 1e-3, "float32")),
    "TwoTower, ids, in-batch": Contender(
        "ml-1m", sl.TwoTower(hidden=(128, 64), history=0, negatives=0), _training(4096, "adam", 1e-3)
    ),
    "DeepFM, clicks": Contender(
        "clicks", sl.DeepFM(embedding_dim=16, sparse=True, init_std=0.01), _training(4096, "rowwise_adagrad", 0.02)
    ),
    "DeepFM, frappe": Contender(
        "frappe",
        sl.DeepFM(batch_norm=True, dropout=0.3, embedding_l2=0.05, init_std=0.003),
        _training(4096, "adam", 1e-3),
    ),
    "DLRM, clicks, row-wise Adagrad": Contender("clicks", sl.DLRM(**WIDE), _training(2048, "rowwise_adagrad", 0.02)),
    "DLRM, clicks, SGD": Contender("clicks", sl.DLRM(**WIDE), _training(2048, "sgd", 0.1)),
}


def read(folder: Path, clicks: Path | None, name: str) -> tuple[sl.Dataset, Any]:
    """What is learnt from, and what it is tested on: rows with labels, or a frame of pairs with labels."""
    if name == "frappe":
        rows = {"format": "libfm", "schema": {"label": "label"}}
        train = sl.read_dataset(folder / "frappe" / "train.rebuilt.libfm", **rows)  # type: ignore[arg-type]
        return train, read_later(folder / "frappe" / "test.libfm", train, format="libfm")
    if name == "clicks":
        if clicks is None:
            sys.exit("--clicks FOLDER is needed: the folder that benchmarks/click_log.py has made")
        train = sl.read_dataset(clicks / "train.parquet", schema={"label": "label"})
        return train, read_later(clicks / "test.parquet", train)
    columns = ["user_id", "item_id", "rating", "order"]
    path = folder / "ncf-ml-1m" / "ml-1m.train.rating"
    events = pl.read_csv(path, separator="\t", has_header=False, new_columns=columns)
    lines = (folder / "ncf-ml-1m" / "ml-1m.test.negative").read_text().splitlines()
    rows = [[int(number) for number in re.findall(r"\d+", line)] for line in lines]
    pairs = [(row[0], item, int(place == 0)) for row in rows for place, item in enumerate(row[1:])]
    test = pl.DataFrame(pairs, schema=["user_id", "item_id", "label"], orient="row")
    return sl.read_dataset(events.select("user_id", "item_id")), test


def measure(contender: Contender, train: sl.Dataset, test: Any, *, steps: int | None) -> dict[str, Any]:
    """Positives or rows a second, and after a whole epoch the AUC."""
    if steps is not None:
        assert contender.training.batch_size is not None
        rest = 1 - steps * contender.training.batch_size / len(train.events)
        if rest > 0:
            train = sl.split_random(train, valid=0, test=rest)[0]
        model = sl.fit(contender.settings, train, training=contender.training)
        assert model.log is not None
        return {"examples_per_s": round(model.log.epochs[0].examples_per_s)}
    model = sl.fit(contender.settings, train, training=contender.training)
    assert model.log is not None
    if isinstance(test, sl.Dataset):
        auc = sl.evaluate(model, test, metrics=["auc"], bootstrap=0)["auc"].value
    else:
        scores = 1 / (1 + np.exp(-np.asarray(model.score(test.drop("label")))))
        auc = evaluate_predictions(scores, labels=test["label"].to_numpy(), bootstrap=0)["auc"].value
    return {"examples_per_s": round(model.log.epochs[0].examples_per_s), "auc": round(auc, 5)}


def export(train: sl.Dataset, test: sl.Dataset, path: Path) -> None:
    """The encoded rows: ids (N, F) from 0 in each column, the columns' sizes, numbers (N, G) and labels (N,)."""
    arrays: dict[str, Any] = {}
    for name, part in (("train", train), ("test", test)):
        own, context = part.own(), part.context
        assert context is not None
        assert context.categorical is not None
        layout = context.layout
        arrays[f"{name}_ids"] = (context.categorical[own] - torch.tensor(layout.offsets)).int().numpy()
        arrays["sizes"] = np.array(layout.categorical)
        numbers = torch.zeros(int(own.sum()), 0) if context.numeric is None else context.numeric[own]
        arrays[f"{name}_numbers"] = numbers.numpy()
        assert part.events.liked is not None
        arrays[f"{name}_labels"] = part.events.liked[own].float().numpy()
    np.savez(path, **arrays)


def main() -> None:
    """Measure every model, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clicks", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="steps of every round but the first")
    parser.add_argument("--only", default="", help="only our measurements whose name holds this: they join the file's")
    parser.add_argument("--peer", action="append", default=[], help="a command that ends with a line of JSON")
    parser.add_argument("--export", type=Path, help="only write the encoded rows for peers to this folder")
    arguments = parser.parse_args()
    if arguments.export:
        arguments.export.mkdir(parents=True, exist_ok=True)
        for name in ("clicks", "frappe"):
            export(*read(arguments.data, arguments.clicks, name), arguments.export / f"{name}.npz")
        return
    chosen = {name: contender for name, contender in CONTENDERS.items() if arguments.only in name}
    parts = {name: read(arguments.data, arguments.clicks, name) for name in {each.data for each in chosen.values()}}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in (*chosen, *arguments.peer)}
    for number in range(arguments.rounds):
        steps = None if number == 0 else arguments.steps
        for name, contender in chosen.items():
            rounds[name].append(measure(contender, *parts[contender.data], steps=steps))
            print(name, rounds[name][-1], flush=True)
        for command in arguments.peer:
            words = shlex.split(command) + ([] if steps is None else ["--steps", str(steps)])
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"The peer failed: {command}\n{done.stderr[-2000:]}")
            rounds[command].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print("peer", rounds[command][-1], flush=True)
    settings = {name: {"model": repr(each.settings), "training": repr(each.training)} for name, each in chosen.items()}
    result = {
        "machine": facts() | {"threads": torch.get_num_threads()},
        "ours": {name: _median(rounds[name]) | settings[name] for name in chosen},
        "peers": [_median(rounds[command]) for command in arguments.peer],
    }
    if arguments.clicks:
        result["clicks"] = json.loads((arguments.clicks / "truth.json").read_text())
    if arguments.only:
        before = json.loads(RESULTS.read_text())
        mine = [_named(each) for each in result["peers"]]
        others = [each for each in before["peers"] if _named(each) not in mine]
        result = before | {"ours": before["ours"] | result["ours"], "peers": [*others, *result["peers"]]}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _named(peer: dict[str, Any]) -> str:
    return json.dumps([peer["peer"], peer.get("data"), peer["settings"]])


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The first round with the median speed of all."""
    speeds = [each["examples_per_s"] for each in found]
    return found[0] | {"examples_per_s": round(statistics.median(speeds)), "rounds": speeds}


if __name__ == "__main__":
    main()
