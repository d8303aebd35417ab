"""Examples and a validation to a model that is grown, not trained by gradient, and the log of it."""

from __future__ import annotations

import time

import torch

from shortlist.contracts import Batches, Grown
from shortlist.training import EpochRecord, Training, TrainingLog
from shortlist.validating import Validate


def grow(network: Grown, batches: Batches, *, training: Training, validate: Validate | None) -> TrainingLog:
    """Grow ``network`` for all epochs at once, judge it as of each of them, and keep the best.

    Negatives are drawn once. A run that is killed begins anew.
    """
    assert training.learning_rate is not None
    began = time.perf_counter()
    examples = (batches.get(0, step) for step in range(batches.num_steps))
    losses = network.grow(
        examples,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        seed=training.seed,
        threads=training.threads or torch.get_num_threads(),
    )
    seconds = (time.perf_counter() - began) / training.epochs
    speed = batches.num_examples / seconds
    records: list[EpochRecord] = []
    best, best_epoch, stopped = None, training.epochs, False
    for epoch, loss in enumerate(losses, start=1):
        metrics: dict[str, float] = {}
        if validate is not None and (epoch % training.validate_every == 0 or epoch == training.epochs):
            network.use(epoch)
            metrics = {name: float(value) for name, value in validate().items()}
            value = metrics[training.metric]
            if best is None or training.is_better(value, best):
                best, best_epoch = value, epoch
            stopped = training.patience is not None and epoch - best_epoch >= training.patience
        records.append(EpochRecord(epoch, loss, training.learning_rate, seconds, speed, metrics))
        if stopped:
            break
    network.keep(best_epoch)
    return TrainingLog(
        tuple(records), best_epoch, best, "patience" if stopped else "epochs", time.perf_counter() - began
    )
