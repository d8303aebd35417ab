"""Training speed of RecTools' SASRecModel: real next-item targets per second of whole steps, batches included.

    python3.11 -m venv venv && venv/bin/pip install "torch==2.13.0" "rectools[torch]==0.19.0"
    venv/bin/python benchmarks/peers/rectools_sasrec.py --data DIR --dataset ml-1m --loss bce --seconds 30

It trains through its own PyTorch Lightning module, with neither logger nor checkpoints.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import warnings
from collections.abc import Sequence
from importlib import metadata

import pandas as pd
import pytorch_lightning as pl
import torch
from common import WINDOWS, Clock, arguments, report, training_sequences
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

LOSSES = {"bce": "BCE", "softmax": "softmax"}


class Timing(pl.Callback):
    """Notes the end of each batch, and stops when the time is up."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: object, **_: object) -> None:
        batch = arguments[2]
        assert isinstance(batch, dict)
        if self.clock.tick(int((batch["y"] != 0).sum())):
            trainer.should_stop = True


def interactions(sequences: Sequence[Sequence[int]]) -> pd.DataFrame:
    lengths = [len(items) for items in sequences]
    return pd.DataFrame(
        {
            Columns.User: [user for user, length in enumerate(lengths) for _ in range(length)],
            Columns.Item: list(itertools.chain.from_iterable(sequences)),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(range(sum(lengths)), unit="s"),
        }
    )


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    pl.seed_everything(0)

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            max_epochs=-1,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Timing(Clock(options.seconds))],
        )

    settings: dict[str, object] = {
        "n_factors": 50,
        "n_blocks": 2,
        "n_heads": 1,
        "session_max_len": WINDOWS[options.dataset],
        "dropout_rate": 0.2,
        "batch_size": options.batch,
        "lr": 1e-3,
        **({"n_negatives": 1} if options.loss == "bce" else {}),
    }
    model = SASRecModel(loss=LOSSES[options.loss], get_trainer_func=trainer, **settings)
    dataset = Dataset.construct(interactions(training_sequences(options.data, options.dataset)))
    model.fit(dataset)
    clock = next(hook.clock for hook in model.fit_trainer.callbacks if isinstance(hook, Timing))  # it fits with a copy
    settings["items"] = dataset.item_id_map.size
    report("RecTools SASRecModel", metadata.version("rectools"), options, settings, clock)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    parser = arguments(__doc__, tuple(LOSSES), ("ml-1m", "beauty"))
    parser.add_argument("--batch", type=int, default=128)
    main(parser.parse_args())
