"""What several sources bring: recall of their candidates, and NDCG@10 behind one ranker, against each source alone.

    python benchmarks/sources.py --data DIR [--epochs 30] [--ranker NeuMF|LightGBM]

MovieLens-1M, users 1 to 2999, the last tenth of the time (the protocol of leaderboard.py). The sources are fitted without the
last tenth of the training events: two-tower, SASRec and popularity with a half-life. The same ranker is fitted on the 200
candidates of each, and on their union's. Writes ``benchmarks/results/sources.json`` with the machine's facts, and the
table of docs/guides/funnel.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from leaderboard import put_results, read

import shortlist as sl
from shortlist.data.batches import evaluation_batches
from shortlist.data.split import hold_back
from shortlist.evaluation import evaluate
from shortlist.funnel import Funnel
from shortlist.machine import facts
from shortlist.model import Model

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sources.json"
GUIDE = HERE.parent / "docs" / "guides" / "funnel.md"
METRIC = "ndcg@10"
CANDIDATES = 200
HALF_LIVES = (3, 10, 30, 100)  # days, chosen on validation
RANKERS: dict[str, tuple[Any, sl.Training]] = {
    "NeuMF": (sl.NeuMF(), sl.Training(epochs=10, metric=METRIC)),
    "LightGBM": (sl.LightGBM(leaves=31, min_rows=100), sl.Training(epochs=15, learning_rate=0.05, metric=METRIC)),
}


def fitted(earlier: sl.Dataset, valid: sl.Dataset, epochs: int) -> dict[str, Model]:
    """The sources by name."""
    training = sl.Training(epochs=epochs, patience=3, metric=METRIC)
    made: dict[str, Model] = {}
    for name, settings in (("two-tower", sl.TwoTower()), ("SASRec", sl.SASRec(history=200, loss="gbce"))):
        began = time.perf_counter()
        made[name] = sl.fit(settings, earlier, validation=valid, training=training)
        print(name, f"{time.perf_counter() - began:.0f} s", made[name].log and made[name].log.best_epoch, flush=True)
    recent = [sl.fit(sl.Popularity(half_life_days=days), earlier) for days in HALF_LIVES]
    made["recent popularity"] = max(
        recent, key=lambda one: measured(sl.Recommender(one).funnel, valid)[0][METRIC].value
    )
    return made


def measured(funnel: Funnel, part: sl.Dataset) -> tuple[sl.Report, float]:
    """The report, and the recall of the candidates: the mean share of a user's targets among them."""
    batches = list(evaluation_batches(part, history=funnel.history))
    report = evaluate(funnel.shortlist, batches, metrics=(METRIC, "hr@10"), num_items=part.num_items)
    return report, recall(funnel, batches, CANDIDATES)


def recall(funnel: Funnel, batches: list[Any], k: int) -> float:
    """The mean share of a user's targets among the ``k`` candidates."""
    shares = [found(funnel.retrieve(batch.requests, k, filter=batch.filter).items, batch.targets) for batch in batches]
    return float(torch.cat(shares).mean())


def found(items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The share (B,) of targets (B, S) that are among items (B, C)."""
    there = (targets[:, :, None] == items[:, None, :]).any(2) & (targets > 0)
    return there.sum(1) / (targets > 0).sum(1)


def whole_union(funnels: list[Funnel], part: sl.Dataset, history: int) -> tuple[float, float]:
    """Recall of the union before it is cut, and how many items it has."""
    shares, sizes = [], []
    for batch in evaluation_batches(part, history=history):
        lists = [one.retrieve(batch.requests, CANDIDATES, filter=batch.filter).items for one in funnels]
        joined = torch.cat(lists, dim=1)
        shares.append(found(joined, batch.targets))
        sizes += [len(set(row) - {0}) for row in joined.tolist()]
    return float(torch.cat(shares).mean()), sum(sizes) / len(sizes)


def run(folder: Path, epochs: int, ranker: str) -> dict[str, Any]:
    """Fit everything, and measure it."""
    train, valid, test = read(folder / "movielens-1m", "by_time")
    earlier, later = hold_back(train)
    models = fitted(earlier, valid, epochs)
    contenders: dict[str, list[Model]] = {name: [model] for name, model in models.items()}
    contenders["all three"] = list(models.values())
    settings, training = RANKERS[ranker]
    reports: dict[str, sl.Report] = {}
    rows: list[dict[str, Any]] = []
    for name, sources in contenders.items():
        alone, share = measured(sl.Recommender(sources, candidates=CANDIDATES).funnel, test)
        second = sl.fit(
            settings, later, validation=valid, candidates_from=sources, candidates=CANDIDATES, training=training
        )
        behind, _ = measured(sl.Recommender(sources, ranker=second, candidates=CANDIDATES).funnel, test)
        reports[name] = behind
        figures = {"recall": share, "unranked": alone[METRIC].value, "ranked": behind[METRIC].value}
        rows.append({"name": name, **{key: round(value, 4) for key, value in figures.items()}})
        print(rows[-1], flush=True)
    for row in rows[:-1]:
        paired = sl.compare(reports["all three"], reports[row["name"]], metric=METRIC)
        row["all_three_above"] = [round(value, 4) for value in (paired.difference, paired.low, paired.high)]
    funnels = [sl.Recommender(model).funnel for model in models.values()]
    share, size = whole_union(funnels, test, max(one.history for one in funnels))
    return {
        "users": reports["all three"].num_users,
        "ranker": repr(settings),
        "ranker_training": repr(training),
        "epochs": epochs,
        "sources": {name: repr(model.settings) for name, model in models.items()},
        "whole_union": {"recall": round(share, 4), "items": round(size, 1)},
        "rows": rows,
    }


def write_guide(known: dict[str, Any]) -> None:
    """Put the tables between the guide's markers."""
    parts = []
    for ranker, result in known.items():
        lines = [
            f"**MovieLens-1M, users 1 to 2999, last tenth by time, ranked by {ranker}** ({result['users']:,} users)",
            "",
        ]
        lines += [
            f"| source | recall@{CANDIDATES} | NDCG@10 alone | NDCG@10 ranked | all three above it |",
            "|---|---|---|---|---|",
        ]
        for row in result["rows"]:
            above = ""
            if "all_three_above" in row:
                difference, low, high = row["all_three_above"]
                above = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
            lines.append(
                f"| {row['name']} | {row['recall']:.4f} | {row['unranked']:.4f} | {row['ranked']:.4f} | {above} |"
            )
        whole = result["whole_union"]
        lines += [
            "",
            f"Before the cut the three lists have {whole['items']:.0f} different items and a recall of {whole['recall']:.4f}.",
        ]
        parts.append("\n".join(lines))
    put_results(GUIDE, parts)


def main() -> None:
    """Run, write the results and put them into the guide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30, help="at most, of each source")
    parser.add_argument("--ranker", action="append", choices=tuple(RANKERS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for ranker in arguments.ranker or list(RANKERS):
        torch.manual_seed(0)
        result = {
            **run(arguments.data, arguments.epochs, ranker),
            "machine": facts() | {"threads": torch.get_num_threads()},
        }
        known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(known | {ranker: result}, indent=1) + "\n")
        if arguments.out == RESULTS:
            write_guide(known | {ranker: result})


if __name__ == "__main__":
    main()
