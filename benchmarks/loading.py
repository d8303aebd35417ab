"""From a process's start to its first answer, and the memory of one process and of a second with the same bundle.

    python benchmarks/loading.py [--items 1000000] [--bundle FOLDER]

The bundle is made here, without training: SASRec's vectors lie around those of the items' groups, DLRM re-ranks 200
candidates as it was drawn. A process is started again and again, the files being in the system's cache; what is told of
each step is the median, and beside it the processor's time, which a busy machine hardly changes. Then two processes stay, each with 100 answers behind it: what a process has for itself (USS, in
/proc "private") and its part of what it shares (in PSS). "Bare" is a process that has only imported torch and FAISS.
Writes ``benchmarks/results/loading.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "loading.json"
STARTS, ANSWERS = 7, 100


def memory_mb() -> dict[str, float]:
    """What this process has for itself, and its part of all it has."""
    told = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {name.rstrip(":"): int(size) for name, size, *_ in told}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"private_mb": round(private / 1024, 1), "pss_mb": round(kilobytes["Pss"] / 1024, 1)}


def ready(folder: str, started: float) -> None:
    """Load and answer, and tell the parent when and with what memory; stay until it says so."""
    seconds, cpu_s, memory = {}, {}, {}

    def done(step: str) -> None:
        seconds[step], cpu_s[step] = time.time() - started, time.process_time()

    import faiss  # noqa: F401 - a bare process has it
    import torch

    done("torch and FAISS")
    memory["bare"] = memory_mb()
    import shortlist as sl

    _ = sl.load, sl.Recommender
    done("shortlist")
    recommender = sl.load(folder)
    done("loaded")
    memory["loaded"] = memory_mb()
    users = recommender.dataset.encoders.users.decode(torch.arange(1, ANSWERS + 1).numpy()).tolist()
    recommender.recommend(users[:1], k=10)
    done("answered")
    for user in users:
        recommender.recommend([user], k=10)
    memory[f"after {ANSWERS} answers"] = memory_mb()
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "memory": memory}), flush=True)
    sys.stdin.read()


def start(folder: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A process that has answered, and what it told."""
    command = [sys.executable, __file__, "--ready", str(folder), "--started", str(time.time())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def make(folder: Path, num_items: int) -> None:
    """A recommender of ``num_items``, saved."""
    import torch
    from scale import GROUPS
    from scale import make as make_dataset

    import shortlist as sl
    from shortlist.data.titles import Titles
    from shortlist.model import Model, TrainedUntil
    from shortlist.texts import Texts

    dataset = make_dataset(num_items)
    titles = Titles(Texts.of(f"A thing of group {item % GROUPS}, number {item}" for item in range(num_items)))
    dataset = replace(dataset, encoders=replace(dataset.encoders, titles=titles))
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def untrained(settings: Any, evidence: int) -> Model:
        catalogue = dataset.catalogue().with_evidence(evidence)
        return Model(settings, settings.build(catalogue).eval(), dataset, catalogue, TrainedUntil.of(dataset))

    model = untrained(sl.SASRec(embedding_dim=64, history=50), 0)
    centres = torch.randn(GROUPS, 64, generator=draw)[torch.arange(num_items) % GROUPS]
    lengths = 0.5 + torch.rand(num_items, 1, generator=draw)
    with torch.no_grad():
        model.network.items.all().copy_(0.1 * lengths * (centres + 0.7 * torch.randn(num_items, 64, generator=draw)))
    ranker = untrained(sl.DLRM(embedding_dim=16, bottom=(32,), top=(64, 32), sparse=True), 2)
    sl.Recommender(model, ranker=ranker, candidates=200).save(folder)


def measured(folder: Path) -> dict[str, Any]:
    """Start one process after the other, then two that stay."""
    told, load = [], round(os.getloadavg()[0], 1)
    for _ in range(STARTS):
        process, each = start(folder)
        process.communicate()
        told.append(each)
    first, _ = start(folder)
    second, of_second = start(folder)
    for process in (second, first):
        process.communicate()
    memory, last = of_second["memory"], f"after {ANSWERS} answers"

    def medians(kind: str) -> dict[str, float]:
        return {step: round(statistics.median(each[kind][step] for each in told), 2) for step in told[0][kind]}

    result = {
        "processes that wanted a core before": load,
        "from the start, s": medians("seconds"),
        "processor time from the start, s": medians("cpu_s"),
        "one process": told[0]["memory"],
        "a second process": memory,
        "a second process beyond a bare one, mb": round(memory[last]["private_mb"] - memory["bare"]["private_mb"], 1),
    }
    print(json.dumps(result, indent=1))
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--bundle", help="measure this one, and write nothing")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--ready", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ready is not None:
        ready(arguments.ready, arguments.started)
    elif arguments.make is not None:
        make(Path(arguments.make), arguments.items)
    elif arguments.bundle is not None:
        measured(Path(arguments.bundle))
    else:
        from shortlist.machine import facts

        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "made.bundle"
            subprocess.run(
                [sys.executable, __file__, "--make", str(folder), "--items", str(arguments.items)], check=True
            )
            size = sum(file.stat().st_size for file in folder.iterdir())
            result = {
                "machine": facts(),
                "items": arguments.items,
                "bundle_mb": round(size / 2**20),
                **measured(folder),
            }
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
