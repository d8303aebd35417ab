"""Training speed of every kind of model on the CPU and on a GPU: whole epochs of ``fit``, batches and optimiser included.

    python benchmarks/devices.py --data DIR [--device cuda] [--only NAME]

Each model learns from the same data on both devices, in float32 and bfloat16. The second epoch counts, for the first one
also sets up the device. Writes ``benchmarks/results/devices.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch

import shortlist as sl
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "devices.json"
Precision = Literal["float32", "bfloat16"]
# data, settings, examples a batch (of sequence models sequences, which are also what their speeds count)
CONTENDERS: dict[str, tuple[str, Any, int]] = {
    "SASRec, softmax": ("ml-1m", sl.SASRec(embedding_dim=64, history=200, loss="softmax"), 128),
    "SASRec, softmax, wide": ("ml-1m", sl.SASRec(embedding_dim=256, history=200, num_heads=4, loss="softmax"), 128),
    "GRU4Rec, softmax": ("ml-1m", sl.GRU4Rec(hidden=(256,), history=200, loss="softmax"), 128),
    "TwoTower": ("ml-1m", sl.TwoTower(), 4096),
    "NeuMF": ("ml-1m", sl.NeuMF(), 8192),
    "DeepFM": ("frappe", sl.DeepFM(hidden=(400, 400, 400)), 4096),
    "DLRM": ("frappe", sl.DLRM(embedding_dim=32), 4096),
}


def read(folder: Path, name: str) -> sl.Dataset:
    """What is learnt from."""
    if name == "ml-1m":
        return sl.split_last_out(sl.read_dataset(folder / "sasrec-ml-1m" / "ml-1m.txt"))[0]
    return sl.read_dataset(folder / "frappe" / "train.rebuilt.libfm", format="libfm", schema={"label": "label"})


def speed(dataset: sl.Dataset, settings: Any, batch_size: int, device: str, precision: Precision) -> int:
    """Examples a second in the second epoch."""
    training = sl.Training(
        epochs=2, batch_size=batch_size, learning_rate=1e-3, device=device, precision=precision, patience=None
    )
    log = sl.fit(settings, dataset, training=training).log
    assert log is not None
    return round(log.epochs[1].examples_per_s)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="only models whose name holds this; nothing is written")
    arguments = parser.parse_args()
    chosen = {name: parts for name, parts in CONTENDERS.items() if arguments.only in name}
    datasets = {data: read(arguments.data, data) for data in {data for data, *_ in chosen.values()}}
    found: dict[str, dict[str, Any]] = {}
    for name, (data, settings, batch_size) in chosen.items():
        speeds = {
            f"{device}, {precision}": speed(datasets[data], settings, batch_size, device, precision)
            for device in dict.fromkeys(("cpu", arguments.device))
            for precision in get_args(Precision)
        }
        found[name] = {"examples_per_s": speeds, "settings": repr(settings), "batch_size": batch_size}
        print(name, speeds, flush=True)
    if not arguments.only:
        machine = facts(arguments.device) | {"threads": torch.get_num_threads()}
        RESULTS.write_text(json.dumps({"machine": machine, "models": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
