"""The service under load: latency and throughput by connections, overload, start, events, and an event's way to the answer.

    python benchmarks/serving.py [--items 1000000] [--workers 2] [--bundle FOLDER] [--only closed open events effect]

Needs wrk. Events are made up as in ``scale.py``, 50 for each user; SASRec (window 50, width 64) retrieves and DLRM re-ranks 200
candidates. The service runs as ``shortlist serve`` does, and the client shares its cores. Requests name random users; every
other one brings two fresh events. Writes ``benchmarks/results/serving.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from open_loop import offer
from scale import make

import shortlist as sl
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "serving.json"
USERS, SECONDS = 20_000, 12
INDEX = sl.IVFPQ(nprobe=91, k_factor=8)  # as tuned in scale.json: the vectors of one epoch are easier to find
SCRIPT = """
local users, items = {users}, {items}
math.randomseed(os.time())
request = function()
  local body = '{{"user_id":' .. math.random(0, users - 1)
  if math.random() < 0.5 then
    body = body .. ',"events":[{{"item_id":' .. math.random(0, items - 1) .. '}},{{"item_id":' .. math.random(0, items - 1) .. '}}]'
  end
  return wrk.format("POST", "/recommend", {{["content-type"] = "application/json"}}, body .. "}}")
end
"""
EVENTS = """
local count = 0
request = function()
  local parts = {{}}
  for place = 1, {size} do
    parts[place] = '{{"user_id":' .. math.random(0, {users} - 1) .. ',"item_id":' .. math.random(0, {items} - 1) .. '}}'
  end
  return wrk.format("POST", "/events", {{["content-type"] = "application/json"}}, '{{"events":[' .. table.concat(parts, ",") .. ']}}')
end
"""


def make_bundle(path: Path, items: int) -> None:
    """A recommender trained for one epoch, and its index."""
    dataset = make(items, users=USERS)
    training = sl.Training(epochs=1, patience=None, batch_size=128)
    settings = sl.SASRec(embedding_dim=64, history=50, loss="sampled_softmax", negatives=256)
    model = sl.fit(settings, dataset, training=training)
    ranking = sl.Training(epochs=1, patience=None, batch_size=4096, optimizer="rowwise_adagrad", learning_rate=0.02)
    ranker = sl.fit(sl.DLRM(embedding_dim=16, bottom=(32,), top=(64, 32), sparse=True), dataset, training=ranking)
    sl.Recommender(model, ranker=ranker, candidates=200, index=INDEX).save(path)


@contextmanager
def served(bundle: Path, *, workers: int, threads: int = 1) -> Iterator[tuple[int, float, int]]:
    """A running service: its port, the seconds from its start until it was ready, and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["serve", str(bundle), "--port", str(port), "--folder", folder]
        command += ["--workers", str(workers), "--threads", str(threads)]
        program = [sys.executable, "-c", "from shortlist.cli import main; main()", *command]
        started = time.perf_counter()
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(program, stderr=log)
        try:
            while not is_ready(port):
                if process.poll() is not None:
                    raise SystemExit(Path(folder, "log").read_text()[-2000:])
                time.sleep(0.02)
            yield port, time.perf_counter() - started, process.pid
        finally:
            process.terminate()
            process.wait(30)


def is_ready(port: int) -> bool:
    """Whether the service answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def wrk(port: int, connections: int, script: str, seconds: int = SECONDS) -> dict[str, Any]:
    """What wrk says of a closed loop of connections."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        url = f"http://127.0.0.1:{port}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", file.name, url]
        said = subprocess.check_output(command, text=True)
    found = {
        name: _ms(*re.search(rf"{share}%\s+([\d.]+)(us|ms|s)\b", said).groups())
        for name, share in (("p50_ms", 50), ("p99_ms", 99))
    }  # type: ignore[union-attr]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    failed = re.search(r"Socket errors: (.*)", said)
    assert rate is not None
    return {
        "connections": connections,
        "requests_per_s": round(float(rate[1])),
        **found,
        "errors": (int(bad[1]) if bad else 0) + (1 if failed else 0),
    }


def _ms(number: str, unit: str) -> float:
    return round(float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit], 2)


def closed(port: int, items: int) -> list[dict[str, Any]]:
    """By connections."""
    script = SCRIPT.format(users=USERS, items=items)
    wrk(port, 8, script, seconds=3)
    return [wrk(port, connections, script) for connections in (1, 8, 32)]


def overload(port: int, items: int, capacity: float) -> dict[str, Any]:
    """Twice the capacity for a minute, then half of it."""
    over = asyncio.run(offer(port, rate=2 * capacity, seconds=60, users=USERS, items=items))
    after = asyncio.run(offer(port, rate=capacity / 2, seconds=10, users=USERS, items=items))
    return {"offered_per_s": round(2 * capacity), "twice_the_capacity": over, "half_the_capacity_after": after}


def events(port: int, items: int) -> dict[str, Any]:
    """Events stored a second."""
    single = wrk(port, 32, EVENTS.format(size=1, users=USERS, items=items), seconds=8)
    batched = wrk(port, 4, EVENTS.format(size=100, users=USERS, items=items), seconds=8)
    return {
        "single_per_s": single["requests_per_s"],
        "batched_per_s": 100 * batched["requests_per_s"],
        "errors": single["errors"] + batched["errors"],
    }


def effect(port: int) -> dict[str, float]:
    """Milliseconds from sending an event to the answer that knows it, of users nobody has heard of."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(path: str, body: dict[str, Any]) -> Any:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        return json.loads(connection.getresponse().read())

    best = post("/recommend", {"user_id": "first"})["items"][0]["item_id"]
    times = []
    for number in range(500):
        user = f"new {number} {time.time_ns()}"
        started = time.perf_counter()
        post("/events", {"events": [{"user_id": user, "item_id": best}]})
        answer = post("/recommend", {"user_id": user})
        times.append(1e3 * (time.perf_counter() - started))
        assert answer["source"] == "session", answer
        assert best not in [item["item_id"] for item in answer["items"]]
    times.sort()
    return {"p50_ms": round(statistics.median(times), 2), "p99_ms": round(times[int(0.99 * len(times))], 2)}


def memory(pid: int) -> list[int]:
    """Private megabytes of a process and its children that have the bundle."""
    found = []
    for each in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        found.append(sum(int(kb) for kb in re.findall(r"Private_\w+:\s+(\d+)", text)) // 1024)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundle", type=Path, default=Path(tempfile.gettempdir()) / "shortlist-serving.bundle")
    parts = ("closed", "open", "events", "effect")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    arguments = parser.parse_args()
    if not arguments.bundle.exists():
        make_bundle(arguments.bundle, arguments.items)
    result: dict[str, Any] = {
        "machine": facts(),
        "settings": {
            "items": arguments.items,
            "users": USERS,
            "workers": arguments.workers,
            "threads": arguments.threads,
        },
    }
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    with served(arguments.bundle, workers=arguments.workers, threads=arguments.threads) as (port, ready_s, pid):
        result["start_to_ready_s"] = round(ready_s, 2)
        print("ready", result["start_to_ready_s"], flush=True)
        if "closed" in arguments.only or "open" in arguments.only:
            result["closed_loop"] = closed(port, arguments.items)
            print(*result["closed_loop"], sep="\n", flush=True)
        result["private_mb"] = memory(pid)
        if "effect" in arguments.only:
            result["event_to_effect"] = effect(port)
            print(result["event_to_effect"], flush=True)
        if "events" in arguments.only:
            result["events"] = events(port, arguments.items)
            print(result["events"], flush=True)
        if "open" in arguments.only:
            capacity = result["closed_loop"][-1]["requests_per_s"]
            result["open_loop"] = overload(port, arguments.items, capacity)
            print(result["open_loop"], flush=True)
    if set(arguments.only) == set(parts):
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    else:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
