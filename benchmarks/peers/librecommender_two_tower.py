"""Training speed of LibRecommender's TwoTower on NCF's split of MovieLens-1M, by ids alone.

    python3.11 -m venv venv
    venv/bin/pip install "LibRecommender==1.5.2" "tensorflow-cpu==2.15.1" pandas scikit-learn "numpy<2" "torch==2.13.0" gensim
    venv/bin/python benchmarks/peers/librecommender_two_tower.py --data DIR --loss softmax|cross_entropy [--steps 100]

Towers of 64 wide ids with hidden layers of 128 and 64, batches of 4,096 positives; ``softmax`` compares each with the others of
the batch, ``cross_entropy`` with one sampled negative. The second epoch counts, as LibRecommender times it. ``--steps`` makes an
epoch that long.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before TensorFlow is loaded

import pandas as pd
import tensorflow as tf
from common import peak_rss_mb
from libreco.algorithms import TwoTower
from libreco.data import DatasetPure

SETTINGS: dict[str, Any] = {
    "embed_size": 64,
    "hidden_units": (128, 64),
    "batch_size": 4096,
    "lr": 1e-3,
    "use_bn": False,
}
TIMED = re.compile(r"Epoch 2 elapsed: ([\d.]+)s")


def main(options: argparse.Namespace) -> None:
    events = pd.read_csv(
        options.data / "ncf-ml-1m" / "ml-1m.train.rating", sep="\t", names=["user", "item", "label", "time"]
    )[["user", "item", "label"]]
    events["label"] = 1
    if options.steps is not None:
        events = events.sample(n=min(len(events), options.steps * SETTINGS["batch_size"]), random_state=0)
    train, info = DatasetPure.build_trainset(events)
    threads = {"intra_op_parallelism_threads": options.threads, "inter_op_parallelism_threads": options.threads}
    model = TwoTower(
        "ranking",
        info,
        loss_type=options.loss,
        n_epochs=2,
        tf_sess_config=tf.compat.v1.ConfigProto(**threads),
        **SETTINGS,
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        model.fit(train, neg_sampling=True, verbose=1, shuffle=True)
    found = TIMED.search(said.getvalue())
    assert found is not None, said.getvalue()
    result = {
        "peer": f"LibRecommender TwoTower, {options.loss}",
        "version": metadata.version("LibRecommender"),
        "data": "ml-1m",
        "settings": SETTINGS,
        "examples_per_s": round(len(events) / float(found[1])),
        "peak_rss_mb": peak_rss_mb(),
        "threads": options.threads,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--loss", choices=("softmax", "cross_entropy"), default="softmax")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    main(parser.parse_args())
