"""Sequence models: training speed beside peers, the time to embed a request, and the memory of a full softmax.

    python benchmarks/sequences.py --data DIR [--seconds 20] [--rounds 3] [--peer "python benchmarks/peers/rectools_sasrec.py …"]

Speed is next-item targets per second of whole training steps (batch, loss, gradient, optimiser), padding not counted.
Each ``--peer`` is a command that ends with one line of JSON (see benchmarks/peers); peers run between our own
measurements, in the same minutes, and all of it in several rounds, of which the median one counts: speed varies on shared
machines. Writes ``benchmarks/results/sequences.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch

import shortlist as sl
from shortlist.accelerating import accelerated
from shortlist.contracts import Requests
from shortlist.data.training_batches import training_batches
from shortlist.funnel import Funnel
from shortlist.machine import facts
from shortlist.model import Model, TrainedUntil
from shortlist.models import losses
from shortlist.training.environment import run_apart
from shortlist.training.optimizer import build_optimizer

RESULTS = Path(__file__).parent / "results" / "sequences.json"
AUTHORS = {"embedding_dim": 50, "windows": "last"}
# data, settings, sequences a batch, precision. GRU4Rec's batches have as many predictions as its release's steps.
CONTENDERS: dict[str, tuple[str, Any, int, str]] = {
    "SASRec bce, ml-1m": ("ml-1m", sl.SASRec(**AUTHORS, loss="bce", negatives=1), 128, "bfloat16"),
    "SASRec bce, ml-1m, float32": ("ml-1m", sl.SASRec(**AUTHORS, loss="bce", negatives=1), 128, "float32"),
    "SASRec softmax, ml-1m": ("ml-1m", sl.SASRec(**AUTHORS, loss="softmax"), 128, "bfloat16"),
    "SASRec gbce 256, ml-1m": ("ml-1m", sl.SASRec(**AUTHORS, loss="gbce", negatives=256), 128, "bfloat16"),
    "SASRec bce, beauty": ("beauty", sl.SASRec(**AUTHORS, history=50, loss="bce", negatives=1), 128, "float32"),
    "GRU4Rec, diginetica, 512": ("diginetica", sl.GRU4Rec(hidden=(100,), negatives=2048, sparse=True), 133, "bfloat16"),
    "GRU4Rec, diginetica, 2048": (
        "diginetica",
        sl.GRU4Rec(hidden=(100,), negatives=2048, sparse=True),
        532,
        "bfloat16",
    ),
    "GRU4Rec, diginetica, 64": ("diginetica", sl.GRU4Rec(hidden=(100,), negatives=2048, sparse=True), 17, "bfloat16"),
}


def read(folder: Path, name: str) -> sl.Dataset:
    """The training part of a data set."""
    if name == "diginetica":
        path = folder / "diginetica" / "train_sessions.plain.txt"
        return sl.read_dataset(path, format="sessions", schema={"sequence": "session"})
    if name == "beauty":
        return sl.split_last_out(sl.read_dataset(folder / "amazon-beauty" / "Beauty.txt", format="user_items"))[0]
    return sl.split_last_out(sl.read_dataset(folder / "sasrec-ml-1m" / "ml-1m.txt"))[0]


def measure(settings: Any, dataset: sl.Dataset, batch_size: int, precision: str, seconds: float) -> dict[str, float]:
    """Targets per second over whole steps, in the surroundings that training runs in."""

    def work(_: Any) -> dict[str, float]:
        torch.manual_seed(0)
        network = settings.build(dataset.catalogue()).train()
        batches = training_batches(dataset, settings.sampling, batch_size=batch_size, seed=0)
        kind, rate = ("adagrad", 0.05) if getattr(settings, "sparse", False) else ("adam", 1e-3)
        training = sl.Training(optimizer=kind, learning_rate=rate)  # type: ignore[arg-type]
        optimizer = build_optimizer(network.parameters(), settings=training)
        times: list[float] = []
        targets = 0
        deadline, step = time.perf_counter() + seconds, 0
        while time.perf_counter() < deadline or len(times) < 5:
            started = time.perf_counter()
            examples = batches.get(step // batches.num_steps, step % batches.num_steps)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = network.loss(examples)
            loss.backward()
            optimizer.step()
            if step >= 3:  # the first steps set up memory
                times.append(time.perf_counter() - started)
                targets += int((examples.items > 0).sum())
            step += 1
        return {
            "targets_per_s": round(targets / sum(times)),
            "median_step_ms": round(1e3 * statistics.median(times), 1),
            "steps": len(times),
            "steps_an_epoch": batches.num_steps,
            "seconds_an_epoch": round(batches.num_examples * sum(times) / targets, 1),
        }

    return run_apart(work, threads=None, device=torch.device("cpu"))


def embedding_ms(settings: Any, num: int, *, repeats: int = 200) -> dict[str, float]:
    """Milliseconds to embed so many requests with full windows, on one thread: the median, as trained and as served."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    events = pl.DataFrame({"user_id": 1, "item_id": range(1, 20_001), "timestamp": range(20_000)})
    data = sl.read_dataset(events)
    catalogue = data.catalogue()
    plain = Model(settings, settings.build(catalogue).eval(), data, catalogue, TrainedUntil.of(data))
    quick = accelerated(Funnel.of(plain, index=sl.Exact())).retriever
    history = torch.randint(1, data.num_items + 1, (num, settings.history))
    asked = Requests(torch.ones(num).long(), history, torch.full((num,), settings.history))
    found = {}
    with torch.inference_mode():
        for runtime, network in {"PyTorch": plain.network, "ONNX Runtime": quick.network}.items():
            times = []
            for _ in range(repeats if num < 10 else repeats // 10):
                started = time.perf_counter()
                network.embed_requests(asked)  # type: ignore[operator]
                times.append(time.perf_counter() - started)
            found[runtime] = round(1e3 * statistics.median(times), 3)
    torch.set_num_threads(threads)
    return found


def softmax_memory(num_items: int = 100_000, targets: int = 4096, width: int = 64) -> dict[str, float]:
    """Peak memory of one full softmax with its gradients, above the tables and their gradients, in MB."""

    def peak() -> float:
        status = Path("/proc/self/status").read_text()  # getrusage() would count what the parent process had
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    table, queries = torch.randn(num_items, width) * 0.1, torch.randn(targets, width)
    kept = torch.ones(num_items, width), torch.ones(targets, width)  # as large as the gradients
    small = torch.randn(256, width).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):  # the libraries' own memory
        losses.sampled_softmax(small[:128], small, torch.arange(128)).backward()
    before = peak()
    del kept
    table.requires_grad_()
    queries.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses.sampled_softmax(queries, table, torch.randint(0, num_items, (targets,))).backward()
    return {"items": num_items, "targets": targets, "width": width, "peak_mb": round(peak() - before, 1)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median one counts")
    parser.add_argument("--peer", action="append", default=[], help="a command that ends with a line of JSON")
    parser.add_argument("--only", help="only our measurements whose name holds this: they join the file's")
    parser.add_argument("--memory", action="store_true", help="only the memory of a softmax, in this process")
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(softmax_memory()))
        return
    if arguments.data is None:
        parser.error("--data DIR is needed: the folder with sasrec-ml-1m, amazon-beauty and diginetica")
    chosen = {name: parts for name, parts in CONTENDERS.items() if not arguments.only or arguments.only in name}
    datasets = {data: read(arguments.data, data) for data in {data for data, *_ in chosen.values()}}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in (*chosen, *arguments.peer)}
    for _ in range(arguments.rounds):
        waiting = list(arguments.peer)
        for name, (data, settings, batch_size, precision) in chosen.items():
            found = measure(settings, datasets[data], batch_size, precision, arguments.seconds)
            print(name, found, flush=True)
            rounds[name].append(found | {"settings": repr(settings), "batch_size": batch_size, "precision": precision})
            if waiting:
                command = waiting.pop(0)
                rounds[command].append(_run(command))
        for command in waiting:
            rounds[command].append(_run(command))
    medians = {name: _median(found) for name, found in rounds.items()}
    ours, peers = {name: medians[name] for name in chosen}, [medians[command] for command in arguments.peer]
    serving = {
        f"{type(settings).__name__}, {requests} requests": embedding_ms(settings, requests)
        for settings in (sl.SASRec(embedding_dim=64, history=50), sl.GRU4Rec(hidden=(64,), history=50))
        for requests in (1, 256)
    }
    print("embedding, ms on one thread:", serving)
    memory = json.loads(subprocess.check_output([sys.executable, __file__, "--memory"], text=True))
    print("softmax:", memory)
    if arguments.only:
        before = json.loads(RESULTS.read_text())
        ours = before["ours"] | ours
        measured = {_who(peer) for peer in peers}
        peers = [peer for peer in before["peers"] if _who(peer) not in measured] + peers
    result = {
        "machine": facts() | {"threads": torch.get_num_threads()},
        "ours": ours,
        "peers": peers,
        "embedding_ms_on_one_thread": serving,
        "softmax_memory": memory,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of median speed, with the speeds of all."""
    ranked = sorted(found, key=lambda each: each["targets_per_s"])
    return ranked[len(ranked) // 2] | {"rounds": [round(each["targets_per_s"]) for each in found]}


def _who(peer: dict[str, Any]) -> str:
    return f"{peer['peer']} {peer['dataset']} {peer['loss']} {peer['settings']}"


def _run(command: str) -> dict[str, Any]:
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The peer failed: {command}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print("peer", found, flush=True)
    return found


if __name__ == "__main__":
    main()
