"""Training speed of RecBole's NeuMF on NCF's split of MovieLens-1M, and the AUC of its test pairs after one epoch.

    python3.11 -m venv venv && venv/bin/pip install "torch==2.13.0" "recbole==1.2.1" "numpy<2" "setuptools<81"
    venv/bin/python benchmarks/peers/recbole_neumf.py --data DIR --batch 8192 [--steps 100]

A batch holds ``batch`` positives with 4 sampled negatives each, which RecBole counts as five times as many rows. Embeddings
and layers are those of NeuMF with 8 factors. ``--steps`` ends the epoch early, without an AUC.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch
from common import TimeIsUp, peak_rss_mb
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed
from sklearn.metrics import roc_auc_score

NEGATIVES = 4
SETTINGS: dict[str, object] = {
    "mf_embedding_size": 8,
    "mlp_embedding_size": 32,
    "mlp_hidden_size": [32, 16, 8],
    "dropout_prob": 0.0,
    "learning_rate": 1e-3,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": NEGATIVES},
}


def write(folder: Path, data: Path) -> None:
    """RecBole's files: the training events, and every item."""
    events = [line.split("\t")[:2] for line in (data / "ncf-ml-1m" / "ml-1m.train.rating").read_text().splitlines()]
    folder.mkdir(parents=True)
    lines = "".join(f"{user}\t{item}\n" for user, item in events)
    (folder / "peers.inter").write_text("user_id:token\titem_id:token\n" + lines)


def test_auc(model: torch.nn.Module, dataset: object, data: Path) -> float:
    """The AUC of each user's test item against the 99 given ones, of all pairs together."""
    lines = (data / "ncf-ml-1m" / "ml-1m.test.negative").read_text().splitlines()
    rows = [re.findall(r"\d+", line) for line in lines]
    pairs = [(row[0], item, place == 0) for row in rows for place, item in enumerate(row[1:])]
    known = dataset.field2token_id["item_id"]  # type: ignore[attr-defined]
    pairs = [pair for pair in pairs if pair[1] in known]
    users = dataset.token2id("user_id", [user for user, _, _ in pairs])  # type: ignore[attr-defined]
    items = dataset.token2id("item_id", [item for _, item, _ in pairs])  # type: ignore[attr-defined]
    model.eval()
    asked = Interaction({"user_id": torch.as_tensor(users), "item_id": torch.as_tensor(items)})
    with torch.no_grad():
        scores = model.predict(asked).numpy()  # type: ignore[operator]
    return float(roc_auc_score([label for _, _, label in pairs], scores))


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it leaves logs where it runs
        write(Path(folder) / "peers", options.data)
        config = Config(
            model="NeuMF",
            dataset="peers",
            config_dict={
                **SETTINGS,
                "train_batch_size": options.batch * (1 + NEGATIVES),
                "data_path": folder,
                "load_col": {"inter": ["user_id", "item_id"]},
                "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "group_by": None, "order": "RO", "mode": "full"},
                "epochs": 1,
                "use_gpu": False,
                "show_progress": False,
            },
        )
        init_seed(0, reproducibility=False)
        torch.set_num_threads(options.threads)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model("NeuMF")(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        rows, steps = [0], [0]
        calculate_loss = model.calculate_loss

        def counted(interaction: Interaction) -> torch.Tensor:
            rows[0] += len(interaction)
            return calculate_loss(interaction)

        def after_step(*_: object) -> None:
            steps[0] += 1
            if options.steps is not None and steps[0] >= options.steps:
                raise TimeIsUp

        model.calculate_loss = counted
        trainer.optimizer.register_step_post_hook(after_step)
        began = time.perf_counter()
        with contextlib.suppress(TimeIsUp):
            trainer.fit(train, saved=False)
        seconds = time.perf_counter() - began
        auc = None if options.steps is not None else round(test_auc(model, train.dataset, options.data), 5)
    result = {
        "peer": "RecBole NeuMF",
        "version": metadata.version("recbole"),
        "data": "ml-1m",
        "settings": SETTINGS | {"batch": options.batch},
        "examples_per_s": round(rows[0] / (1 + NEGATIVES) / seconds),
        "auc": auc,
        "steps": steps[0],
        "peak_rss_mb": peak_rss_mb(),
        "threads": options.threads,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parsed = parser.parse_args()
    parsed.data = parsed.data.resolve()
    sys.argv = sys.argv[:1]  # which RecBole reads as well
    logging.disable(logging.WARNING)
    main(parsed)
