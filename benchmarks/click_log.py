"""A click log shaped like Criteo's, whose best AUC is known.

    python benchmarks/click_log.py FOLDER [--rows 2000000] [--test-rows 200000]

26 columns of categories with as many values as those of Criteo's Kaggle data (at most 400,000), and 13 of counts. The
frequencies of values fall by a power law, and some rows hold each value once, so that all of them occur (2.57 million,
given a million rows or more). The log-odds of a click are a weight of each value and count, and the dot products of all
pairs of values' hidden vectors of 4. Writes ``train.parquet``, ``test.parquet``, ``train.csv`` and ``truth.json`` with the
AUC and logloss that the true probabilities have on the test rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from shortlist.evaluation import evaluate_predictions

CATEGORIES = (
    1460, 583, 400_000, 400_000, 305, 24, 12_517, 633, 3, 93_145, 5683, 400_000, 3194, 27, 14_992, 400_000, 10, 5652,
    2173, 4, 400_000, 18, 15, 286_181, 105, 142_572,
)  # fmt: skip
NUMBERS = 13
EXPONENT = 1.05  # of the power law
RANK = 4  # of the hidden vectors
BIAS = -3.1
BLOCK = 500_000  # rows that are made at once

Floats = npt.NDArray[np.float32]


class ClickLog:
    """The truth behind the log: draws rows and their labels."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        """Of ``rows`` rows each value is in one, but for columns with more values than half of them."""
        draw = np.random.default_rng(seed)
        self.names, self.shares, self.weights, self.vectors = list[pl.Series](), [], [], []
        self.once = [min(size / rows, 0.5) for size in CATEGORIES]  # share of the rows that hold each value once
        for column, size in enumerate(CATEGORIES):
            share = np.arange(1, size + 1) ** -EXPONENT
            self.shares.append(np.cumsum(share / share.sum()))
            self.weights.append(draw.normal(0, 0.25, size).astype(np.float32))
            self.vectors.append(draw.normal(0, 0.23, (size, RANK)).astype(np.float32))
            codes = (np.arange(size, dtype=np.uint32) + column * 1_000_003) * np.uint32(2_654_435_761)
            self.names.append(pl.Series([f"{code:08x}" for code in codes.tolist()]))
        self.slopes = draw.normal(0, 0.15, NUMBERS).astype(np.float32)
        self.spread = draw.uniform(0.8, 2.0, NUMBERS)

    def rows(self, num: int, *, seed: int) -> tuple[pl.DataFrame, Floats]:
        """So many rows with a column ``label``, and the probabilities (N,) that their labels were drawn from."""
        parts = [self._block(start, min(BLOCK, num - start), seed=seed) for start in range(0, num, BLOCK)]
        return pl.concat([frame for frame, _ in parts]), np.concatenate([chance for _, chance in parts])

    def _block(self, start: int, num: int, *, seed: int) -> tuple[pl.DataFrame, Floats]:
        draw = np.random.default_rng([seed, start])
        logits, total, squares = np.full(num, BIAS, np.float32), np.zeros((num, RANK), np.float32), np.float32(0)
        columns: dict[str, pl.Series] = {}
        for column in range(NUMBERS):
            logs = draw.normal(0, self.spread[column], num)
            counts = np.floor(np.exp(logs + 1)).astype(np.int64)
            logits += self.slopes[column] * np.log1p(counts).astype(np.float32)
            columns[f"I{column + 1}"] = pl.Series(counts)
        for column in range(len(CATEGORIES)):
            size, once = CATEGORIES[column], self.once[column]
            ids = np.searchsorted(self.shares[column], draw.random(num)).clip(max=size - 1)
            first, stop = int(start * once), int((start + num) * once)  # values whose turn it is
            ids[draw.choice(num, stop - first, replace=False)] = np.arange(first, stop) % size
            vectors = self.vectors[column][ids]
            logits += self.weights[column][ids]
            total += vectors
            squares = squares + np.square(vectors).sum(1)
            columns[f"C{column + 1}"] = self.names[column].gather(ids)
        logits += (np.square(total).sum(1) - squares) / 2
        chance = 1 / (1 + np.exp(-logits))
        labels = pl.Series((draw.random(num) < chance).astype(np.int8))
        return pl.DataFrame({"label": labels, **columns}), chance


def write(folder: Path, *, rows: int, test_rows: int) -> dict[str, float]:
    """Write the files, and return what ``truth.json`` says."""
    folder.mkdir(parents=True, exist_ok=True)
    log = ClickLog(rows)
    train, _ = log.rows(rows, seed=1)
    test, chance = log.rows(test_rows, seed=2)
    train.write_parquet(folder / "train.parquet")
    train.write_csv(folder / "train.csv")
    test.write_parquet(folder / "test.parquet")
    best = evaluate_predictions(chance.astype(np.float64), labels=test["label"].to_numpy(), bootstrap=0)
    truth = {
        "rows": rows,
        "clicks": round(float(train["label"].mean()), 4),  # type: ignore[arg-type]
        "best_auc": round(best["auc"].value, 5),
        "best_logloss": round(best["logloss"].value, 5),
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def main() -> None:
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--test-rows", type=int, default=200_000)
    arguments = parser.parse_args()
    print(write(arguments.folder, rows=arguments.rows, test_rows=arguments.test_rows))


if __name__ == "__main__":
    main()
