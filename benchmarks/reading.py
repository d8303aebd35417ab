"""How long 1M ratings take from CSV to Dataset, and a click log from Parquet and CSV, and how much memory beyond the arrays.

    python benchmarks/reading.py [--data DIR] [--clicks FOLDER] [--repeats N]

``--clicks`` is a folder made by ``benchmarks/click_log.py``.
Each reading runs in a process of its own; memory is the growth of its largest resident size, after the libraries are
loaded and a small file has been read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "reading.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SHORTLIST_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="the folder that holds movielens-1m")
    parser.add_argument("--clicks", type=Path, help="the folder of a click log")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(read_once(arguments.one)))
        return
    from shortlist.machine import facts

    ratings = arguments.data / "movielens-1m" / "ratings.csv"
    with tempfile.TemporaryDirectory() as folder:
        files = {"ML-1M as rebuilt: no timestamps, ordered by position": ratings, **plain_files(ratings, Path(folder))}
        if arguments.clicks is not None:
            files |= {f"click log, {kind}": arguments.clicks / f"train.{kind}" for kind in ("parquet", "csv")}
        results = {name: summary(path, arguments.repeats) for name, path in files.items()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"machine": facts(), "results": results}, indent=2) + "\n")
    for name, result in results.items():
        print(
            f"{name}: {result['seconds']:.2f} s, {result['rows_per_s']:,} rows/s, peak {result['peak_bytes'] / 1e6:.0f} MB = {result['peak_over_arrays']:.1f} x the arrays"
        )
    print(f"wrote {RESULT}")


def plain_files(ratings: Path, folder: Path) -> dict[str, Path]:
    """The same ratings as user,item,rating,timestamp, grouped by user and shuffled; the missing times are made up."""
    import polars as pl

    times = (978_300_000 + pl.col("user_id") * 60 + pl.col("position")).cast(pl.Int64)
    frame = pl.read_csv(ratings).select("user_id", "item_id", "rating", pl.col("timestamp").fill_null(times))
    grouped, shuffled = folder / "grouped.csv", folder / "shuffled.csv"
    frame.write_csv(grouped)
    frame.sample(fraction=1.0, shuffle=True, seed=0).write_csv(shuffled)
    return {"plain CSV with timestamps, grouped by user": grouped, "plain CSV with timestamps, shuffled": shuffled}


def summary(path: Path, repeats: int) -> dict[str, float]:
    """The median time and memory of several readings in fresh processes."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", str(path)]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(repeats)
    ]
    middle = {key: sorted(run[key] for run in runs)[repeats // 2] for key in runs[0]}
    return {
        **middle,
        "rows_per_s": round(middle["events"] / middle["seconds"]),
        "seconds_min": min(run["seconds"] for run in runs),
        "seconds_max": max(run["seconds"] for run in runs),
        "file_bytes": path.stat().st_size,
        "peak_over_arrays": round(middle["peak_bytes"] / middle["array_bytes"], 2),
    }


def read_once(path: Path) -> dict[str, float]:
    """Read one file; the seconds it took, how far memory grew at most, and how large the arrays are."""
    from shortlist.data import read_dataset

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.csv"
        small.write_text("user_id,item_id,rating,timestamp\n1,2,3,978300000\n2,2,3,978300001\n")
        read_dataset(small)
    schema = {"label": "label"} if path.stem == "train" else None
    before = reset_peak()
    start = time.perf_counter()
    dataset = read_dataset(path, schema=schema)
    seconds = time.perf_counter() - start
    events = dataset.events
    arrays = [events.offsets, events.items, events.times, events.ratings, events.weights, events.liked]
    if dataset.context is not None:
        arrays += [dataset.context.categorical, dataset.context.numeric]
    return {
        "seconds": round(seconds, 3),
        "events": len(events),
        "peak_bytes": peak() - before,
        "array_bytes": sum(array.numel() * array.element_size() for array in arrays if array is not None),
    }


def peak() -> int:
    """The largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> int:
    """Forget the peak of loading the libraries, where the system allows it; the peak from which to count."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")
    return peak()


if __name__ == "__main__":
    main()
