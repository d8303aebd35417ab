"""What re-ranking adds to SASRec alone, user by user, and whether a dot product or a perceptron should rank.

    python benchmarks/reranking.py --data DIR [--protocol last_out|by_time|dot_or_mlp]

``last_out``: SASRec's file of MovieLens-1M, each user's last event; ``by_time``: users 1 to 2999 of MovieLens-1M, the last
tenth of the time. The retriever has the settings of ``recipes/sasrec_ml_1m.toml`` and is fitted without the last tenth of
the training events, from which the rankers learn on its 200 candidates; their epochs are chosen on validation. Retrieval
alone is the same retriever. ``dot_or_mlp``: MF, NeuMF over all items, and NeuMF on the candidates of MF, on MovieLens-1M's
last ratings. Writes ``benchmarks/results/reranking.json`` with the machine's facts, and the tables of docs/guides/ranking.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from leaderboard import put_results, read

import shortlist as sl
from shortlist.contracts import Stages
from shortlist.data.batches import evaluation_batches
from shortlist.data.split import hold_back
from shortlist.evaluation import evaluate as evaluate_ranking
from shortlist.machine import facts
from shortlist.reproduce import read_recipe
from shortlist.validating import rank_all

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "reranking.json"
GUIDE = HERE.parent / "docs" / "guides" / "ranking.md"
METRIC = "ndcg@10"
CANDIDATES = 200
ASKED = 200  # requests that are timed one by one
TITLES = {
    "last_out": "SASRec's MovieLens-1M, each user's last event",
    "by_time": "MovieLens-1M, users 1 to 2999, last tenth by time",
    "dot_or_mlp": "MovieLens-1M, each user's last rating",
}
RANKERS: dict[str, tuple[Any, sl.Training]] = {
    "NeuMF": (sl.NeuMF(), sl.Training(epochs=10, metric=METRIC)),
    "CrossAttention": (sl.CrossAttention(dropout=0.2), sl.Training(epochs=10, metric=METRIC)),
    "CrossAttention, listwise": (sl.CrossAttention(dropout=0.2, listwise=True), sl.Training(epochs=10, metric=METRIC)),
    "LightGBM": (sl.LightGBM(leaves=31, min_rows=100), sl.Training(epochs=15, learning_rate=0.05, metric=METRIC)),
}
Shortlist = Callable[..., Stages]


def judged(shortlist: Shortlist, history: int, test: sl.Dataset) -> tuple[sl.Report, float]:
    """The report, and the milliseconds of one request: the median on one thread."""
    batches = evaluation_batches(test, history=history)
    report = evaluate_ranking(shortlist, batches, metrics=(METRIC, "hr@10"), num_items=test.num_items, bootstrap=1000)
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for batch in evaluation_batches(test, history=history, batch_size=1, most=ASKED):
        began = time.perf_counter()
        shortlist(batch.requests, k=10, filter=batch.filter)
        times.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return report, 1e3 * statistics.median(times)


def rerank(folder: Path, protocol: str, only: list[str] | None) -> dict[str, Any]:
    """SASRec alone, and with each ranker behind it."""
    recipe = read_recipe(HERE.parent / "recipes" / "sasrec_ml_1m.toml")
    if protocol == "last_out":
        train, valid, test = sl.split_last_out(sl.read_dataset(folder / recipe.data.events))
    else:
        train, valid, test = read(folder / "movielens-1m", "by_time")
    earlier, later = hold_back(train)
    retriever = sl.fit(recipe.model, earlier, training=replace(recipe.training, patience=None), show=True)
    alone = sl.Recommender(retriever, candidates=CANDIDATES)
    reports = {"SASRec alone": judged(alone.funnel.shortlist, alone.funnel.history, test)}
    print({name: report[METRIC].value for name, (report, _) in reports.items()}, flush=True)
    for name, (settings, training) in RANKERS.items():
        if only and name not in only:
            continue
        ranker = sl.fit(
            settings, later, validation=valid, candidates_from=retriever, candidates=CANDIDATES, training=training
        )
        funnel = sl.Recommender(retriever, ranker=ranker, candidates=CANDIDATES).funnel
        reports[f"re-ranked by {name}"] = judged(funnel.shortlist, funnel.history, test)
        print(name, ranker.log and ranker.log.best_epoch, rows(reports)[-1], flush=True)
    return {"retriever": repr(recipe.model), "training": repr(recipe.training), "rows": rows(reports)}


def dot_or_mlp(folder: Path) -> dict[str, Any]:
    """MF, NeuMF, and both in a funnel."""
    train, valid, test = read(folder / "movielens-1m", "last_out")
    training = sl.Training(epochs=12, metric=METRIC, patience=3)
    mf = sl.fit(sl.MF(), train, validation=valid, training=training)
    funnel = sl.Recommender(mf).funnel
    reports = {"MF, dot product over all items": judged(funnel.shortlist, funnel.history, test)}
    neumf = sl.fit(sl.NeuMF(), train, validation=valid, training=training)
    reports["NeuMF, perceptron over all items"] = judged(rank_all(neumf), neumf.history, test)
    earlier, later = hold_back(train)
    retriever = sl.fit(sl.MF(), earlier, validation=valid, training=training)
    ranker = sl.fit(
        sl.NeuMF(), later, validation=valid, candidates_from=retriever, candidates=CANDIDATES, training=training
    )
    funnel = sl.Recommender(retriever, ranker=ranker, candidates=CANDIDATES).funnel
    reports["MF's 200 candidates, re-ranked by NeuMF"] = judged(funnel.shortlist, funnel.history, test)
    found = rows(reports)
    print(found)
    return {"training": repr(training), "rows": found}


def rows(reports: dict[str, tuple[sl.Report, float]]) -> list[dict[str, Any]]:
    """A row for each report, with its paired difference to the first."""
    first, _ = next(iter(reports.values()))
    found = []
    for name, (report, milliseconds) in reports.items():
        row = {"name": name, "ms": round(milliseconds, 2), "users": report.num_users}
        row |= {each.metric: round(each.value, 4) for each in report.metrics}
        if report is not first:
            paired = sl.compare(report, first, metric=METRIC)
            row["above_the_first"] = [round(value, 4) for value in (paired.difference, paired.low, paired.high)]
            row["relative"] = round(paired.relative, 4)
        found.append(row)
    return found


def write_guide(known: dict[str, Any]) -> None:
    """Put the tables between the guide's markers."""
    parts = []
    for protocol, result in known.items():
        lines = [f"**{TITLES[protocol]}** ({result['rows'][0]['users']:,} users)", ""]
        lines += ["| | NDCG@10 | HR@10 | against the first | ms a request |", "|---|---|---|---|---|"]
        for row in result["rows"]:
            above = ""
            if "above_the_first" in row:
                difference, low, high = row["above_the_first"]
                above = f"{difference:+.4f} ({low:+.4f} to {high:+.4f}), {row['relative']:+.1%}"
            lines.append(f"| {row['name']} | {row[METRIC]:.4f} | {row['hr@10']:.4f} | {above} | {row['ms']:.2f} |")
        parts.append("\n".join(lines))
    put_results(GUIDE, parts)


def main() -> None:
    """Run the protocols asked for, write the results and put them into the guide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", action="append", choices=tuple(TITLES))
    parser.add_argument("--ranker", action="append", choices=tuple(RANKERS), help="only these")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for protocol in arguments.protocol or list(TITLES):
        torch.manual_seed(0)
        found = (
            dot_or_mlp(arguments.data)
            if protocol == "dot_or_mlp"
            else rerank(arguments.data, protocol, arguments.ranker)
        )
        known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        known[protocol] = {**found, "machine": facts() | {"threads": torch.get_num_threads()}}
        arguments.out.write_text(json.dumps(known, indent=1) + "\n")
        if arguments.out == RESULTS:
            write_guide(known)


if __name__ == "__main__":
    main()
