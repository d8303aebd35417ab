"""Training speed of RecBole's SASRec and GRU4Rec: targets per second of whole steps, batches included.

    python3.11 -m venv venv && venv/bin/pip install "torch==2.13.0" "recbole==1.2.1" "numpy<2" "setuptools<81"
    venv/bin/python benchmarks/peers/recbole_models.py --data DIR --model SASRec --dataset ml-1m --loss bpr --seconds 30
    venv/bin/python benchmarks/peers/recbole_models.py --data DIR --model GRU4Rec --dataset diginetica --loss ce

RecBole makes one example of each prefix, so a sequence in a batch has one target, the event that follows it. Preparing
all of MovieLens-1M that way takes much memory and time, and only the rate matters: the sequences are the first
``--users`` of the file, while the catalogue is whole. NumPy 1 is for its old names of types, setuptools for the Ray
that it imports, which also needs Python 3.11 at most. SASRec's batch is 256 because RecBole's own 2048 takes 6 GB with
windows of 200 events.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from common import WINDOWS, Clock, TimeIsUp, all_sequences, arguments, report, training_sequences
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

BATCHES = {"SASRec": 256, "GRU4Rec": 2048}
USERS = {"ml-1m": 600, "beauty": 6000, "diginetica": 20000}
MODELS: dict[str, dict[str, object]] = {
    "SASRec": {
        "hidden_size": 50,
        "inner_size": 50,
        "n_layers": 2,
        "n_heads": 1,
        "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2,
    },
    "GRU4Rec": {"embedding_size": 100, "hidden_size": 100, "num_layers": 1, "dropout_prob": 0.0},
}


def write(folder: Path, options: argparse.Namespace) -> int:
    """RecBole's files: the events of the first users, and every item of the catalogue; how many users."""
    sequences = training_sequences(options.data, options.dataset)[: options.users]
    catalogue = sorted({item for items in all_sequences(options.data, options.dataset) for item in items})
    folder.mkdir(parents=True)
    with (folder / "peers.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences):
            file.writelines(f"{user}\t{item}\t{time}\n" for time, item in enumerate(items))
    (folder / "peers.item").write_text("item_id:token\n" + "".join(f"{item}\n" for item in catalogue))
    return len(sequences)


def main(options: argparse.Namespace) -> None:
    model_settings = {
        **MODELS[options.model],
        "MAX_ITEM_LIST_LENGTH": WINDOWS[options.dataset],
        "loss_type": options.loss.upper(),
        "train_neg_sample_args": ({"distribution": "uniform", "sample_num": 1} if options.loss == "bpr" else None),
        "train_batch_size": options.batch,
        "learning_rate": 1e-3,
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it leaves logs where it runs
        users = write(Path(folder) / "peers", options)
        config = Config(
            model=options.model,
            dataset="peers",
            config_dict={
                **model_settings,
                "data_path": folder,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
                "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "group_by": None, "order": "TO", "mode": "full"},
                "epochs": 10**6,
                "use_gpu": False,
                "show_progress": False,
            },
        )
        init_seed(0, reproducibility=False)
        torch.set_num_threads(options.threads)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model(options.model)(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        clock = time_steps(trainer, options.seconds)
        with contextlib.suppress(TimeIsUp):
            trainer.fit(train, saved=False)
    settings = {**model_settings, "items": model.n_items - 1, "first_users": users}  # their item 0 is the padding
    report(f"RecBole {options.model}", metadata.version("recbole"), options, settings, clock)


def time_steps(trainer: object, seconds: float) -> Clock:
    """A clock that ticks with the optimiser, and ends the trainer's loop."""
    clock = Clock(seconds)
    model, optimizer = trainer.model, trainer.optimizer  # type: ignore[attr-defined]
    calculate_loss = model.calculate_loss
    sizes: list[int] = []

    def counted(interaction: object) -> object:
        sizes.append(len(interaction))  # type: ignore[arg-type]
        return calculate_loss(interaction)

    def after_step(*_: object) -> None:
        if clock.tick(sizes[-1]):
            raise TimeIsUp

    model.calculate_loss = counted
    optimizer.register_step_post_hook(after_step)
    return clock


if __name__ == "__main__":
    parser = arguments(__doc__, ("bpr", "ce"))
    parser.add_argument("--model", choices=tuple(MODELS), default="SASRec")
    parser.add_argument("--batch", type=int, help=f"sequences, one target each; otherwise {BATCHES}")
    parser.add_argument("--users", type=int, help=f"the first so many; otherwise {USERS}")
    parsed = parser.parse_args()
    parsed.batch = parsed.batch or BATCHES[parsed.model]
    parsed.users = parsed.users or USERS[parsed.dataset]
    sys.argv = sys.argv[:1]  # which RecBole reads as well
    logging.disable(logging.WARNING)
    main(parsed)
