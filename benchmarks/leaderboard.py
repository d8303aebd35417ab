"""MovieLens-1M to the README's table: every model on the same test events, all items ranked, with intervals.

    python benchmarks/leaderboard.py --data DIR [--protocol last_out] [--protocol by_time]

DIR holds ``ratings.csv``, ``movies.dat`` and ``users.dat``. Last-out keeps each user's last event for the test and the one
before for validation; by-time takes users 1 to 2999, whose times are all known, and cuts at two moments (80/10/10 %). Epochs are
chosen on validation, the test part is evaluated once. Prints the table and writes ``benchmarks/results/leaderboard.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

import shortlist as sl
from shortlist.machine import facts
from shortlist.recommender import Recommender

METRICS = ("ndcg@10", "hr@10", "recall@20")
RESULTS = Path(__file__).parent / "results" / "leaderboard.json"
KEPT = Path(__file__).parents[1] / "runs" / "leaderboard"  # reports with a value per user, for paired comparison
README = Path(__file__).parents[1] / "README.md"
TITLES = {
    "last_out": "MovieLens-1M, each user's last rating",
    "by_time": "MovieLens-1M, users 1 to 2999, last 10 % by time",
}
HISTORIES = (10, 50, 500)
LAST_TIMED_USER = 2999  # later users have few of their times in the file, or none
TRAINING = sl.Training(epochs=6, patience=2, seed=0)


def read(folder: Path, protocol: str) -> tuple[sl.Dataset, sl.Dataset, sl.Dataset]:
    """Train, validation and test of a protocol."""
    ratings: Any = folder / "ratings.csv"
    kept = tempfile.TemporaryDirectory()
    if protocol == "by_time":
        frame = pl.read_csv(ratings).filter(pl.col("user_id") <= LAST_TIMED_USER).sort("user_id", "position")
        ratings = Path(kept.name) / "ratings.csv"
        frame.write_csv(ratings)
    with kept:
        dataset = sl.read_dataset(ratings, items=folder / "movies.dat", users=folder / "users.dat", format="movielens")
    print(dataset.describe(), flush=True)
    return sl.split_last_out(dataset) if protocol == "last_out" else sl.split_by_time(dataset)


def contenders(train: sl.Dataset, valid: sl.Dataset) -> dict[str, Any]:
    """What makes each recommender, by the name in the table."""

    def funnel() -> Recommender:
        return sl.train(train, validation=valid, retriever=sl.TwoTower(), ranker=sl.NeuMF(), training=TRAINING)

    def fitted(settings: Any) -> Recommender:
        trained = hasattr(settings, "negatives")
        return Recommender(sl.fit(settings, train, validation=valid if trained else None, training=TRAINING))

    def with_best_history(kind: Any) -> Recommender:
        """How much history to look at decides most for these; it is chosen on validation like the others' epochs."""
        made = [Recommender(sl.fit(kind(history=history), train)) for history in HISTORIES]
        return max(made, key=lambda one: sl.evaluate(one, valid, metrics=METRICS[:1], bootstrap=0)[METRICS[0]].value)

    made: dict[str, Any] = {
        "Popularity": lambda: fitted(sl.Popularity()),
        "ItemKNN": lambda: with_best_history(sl.ItemKNN),
        "ALS": lambda: with_best_history(sl.ALS),
        "MF": lambda: fitted(sl.MF()),
        "TwoTower": lambda: fitted(sl.TwoTower()),
        "TwoTower, re-ranked by NeuMF": funnel,
    }
    if train.events.times is not None:
        made["Popularity, last 30 days"] = lambda: fitted(sl.Popularity(recent_days=30))
    return made


def run(folder: Path, protocol: str, only: list[str] | None) -> dict[str, dict[str, Any]]:
    """Fit and evaluate the contenders of one protocol; with ``only``, those, the others' kept reports being used again."""
    train, valid, test = read(folder, protocol)
    rows: dict[str, dict[str, Any]] = {}
    kept = KEPT / protocol
    kept.mkdir(parents=True, exist_ok=True)
    for name, make in contenders(train, valid).items():
        if only and name not in only:
            continue
        started = time.perf_counter()
        recommender = make()
        seconds = time.perf_counter() - started
        report = sl.evaluate(recommender, test, metrics=METRICS)
        report.save(kept / f"{name}.json")
        log = recommender.funnel.retriever.log
        rows[name] = {
            "model": name,
            "settings": repr(recommender.funnel.retriever.settings),
            "fit_s": round(seconds, 1),
            "epochs": None if log is None else log.best_epoch,
            "metrics": {m: [report[m].value, report[m].low, report[m].high] for m in METRICS},
        }
        print(name, f"{seconds:.0f} s", {m: round(report[m].value, 4) for m in METRICS}, flush=True)
    return rows


def summary(protocol: str, rows: dict[str, Any]) -> dict[str, Any]:
    """The rows of a protocol, and the best learned retriever's paired differences to all others."""
    reports = {name: sl.Report.load(KEPT / protocol / f"{name}.json") for name in rows}
    learned = [name for name in ("MF", "TwoTower") if name in rows]
    best = max(learned or rows, key=lambda name: reports[name]["ndcg@10"].value)
    paired = {name: sl.compare(reports[best], reports[name], metric="ndcg@10") for name in rows if name != best}
    return {
        "protocol": protocol,
        "users": reports[best].num_users,
        "rows": list(rows.values()),
        "best_learned_retriever": best,
        "ndcg@10_above": {name: [found.difference, found.low, found.high] for name, found in paired.items()},
    }


def table(result: dict[str, Any]) -> str:
    """One protocol's rows as Markdown."""
    lines = ["| model | " + " | ".join(METRICS) + " | fit |", "|---|" + "---|" * (len(METRICS) + 1)]
    for row in sorted(result["rows"], key=lambda row: -row["metrics"]["ndcg@10"][0]):
        cells = [f"{value:.4f} ({low:.4f} to {high:.4f})" for value, low, high in row["metrics"].values()]
        lines.append(f"| {row['model']} | " + " | ".join(cells) + f" | {row['fit_s']:.0f} s |")
    return "\n".join(lines)


def write_readme(known: dict[str, Any]) -> None:
    """Put the tables between the README's markers."""
    parts = [
        f"**{TITLES[protocol]}** ({known[protocol]['users']:,} users)\n\n{table(known[protocol])}"
        for protocol in TITLES
        if protocol in known
    ]
    put_results(README, parts)


def put_results(path: Path, parts: list[str]) -> None:
    """Put the parts between a document's markers, in the place of what stood there."""
    before, _, rest = path.read_text(encoding="utf-8").partition("<!-- results -->")
    after = rest.partition("<!-- /results -->")[2]
    joined = "\n\n".join(parts)
    path.write_text(f"{before}<!-- results -->\n\n{joined}\n\n<!-- /results -->{after}", encoding="utf-8")


def main() -> None:
    """Run the protocols asked for, print the tables, write the results and put them into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", action="append", choices=tuple(TITLES))
    parser.add_argument("--only", action="append", metavar="MODEL", help="fit only these; the rest is as it was")
    parser.add_argument("--tables-only", action="store_true", help="only write the README's tables from the results")
    arguments = parser.parse_args()
    if arguments.tables_only:
        write_readme(json.loads(RESULTS.read_text()))
        return
    for protocol in arguments.protocol or list(TITLES):
        rows = run(arguments.data, protocol, arguments.only)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        if arguments.only:
            rows = {row["model"]: row for row in known.get(protocol, {"rows": []})["rows"]} | rows
        known[protocol] = {**summary(protocol, rows), "machine": facts(), "training": str(TRAINING)}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        write_readme(known)
        print(f"\n{protocol}\n\n{table(known[protocol])}\n")


if __name__ == "__main__":
    main()
