"""A network and its batches to a trained network: one loop for every model that learns by gradient.

It knows neither the data nor the model: only ``loss(examples)``, and a function that measures the network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, NoReturn, cast

import torch
from torch import Tensor, nn

from shortlist.contracts import Batches, DecaysWeights, Examples, Trainable
from shortlist.errors import TrainingError, nearest
from shortlist.training.ahead import in_order
from shortlist.training.environment import run_apart, seed_torch, step_seed
from shortlist.training.logs import EpochRecord, Logs, TrainingLog
from shortlist.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from shortlist.training.progress import ProgressLine
from shortlist.training.resume import Checkpoint, Position, fingerprint
from shortlist.training.settings import Training

__all__ = ["LossModule", "train"]

Validate = Callable[[], Mapping[str, float]]


class LossModule(nn.Module):
    """A network with ``loss`` as its ``forward``, where wrappers such as DistributedDataParallel hook in."""

    def __init__(self, network: nn.Module, /) -> None:
        super().__init__()
        self.network: Trainable = cast(Trainable, network)

    def forward(self, examples: Examples) -> Tensor:
        """The mean loss of the examples, a scalar."""
        return self.network.loss(examples)


def train(
    network: nn.Module,
    batches: Batches,
    *,
    settings: Training,
    validate: Validate | None = None,
    run_dir: Path | None = None,
    show: bool = False,
    identity: Mapping[str, object] | None = None,
    ahead: bool = True,
) -> TrainingLog:
    """Train ``network`` in place by ``network.loss(examples)`` and leave it in evaluation mode.

    ``validate()`` measures the network as it is (without gradients, on ``settings.device``): the epoch that is best
    by ``settings.metric`` gives the final weights. Without it all epochs run and the last weights stay.

    With a ``run_dir`` there is ``log.csv``, and a checkpoint every ``settings.checkpoint_every_s`` seconds and after
    every epoch: a run killed at any moment and started again with the same arguments goes on from it and ends with
    the same weights, bit for bit, on the CPU with as many threads. Neither the weights ``network`` starts from nor its
    own settings (but what its ``repr`` shows) are compared: name them in ``identity``. The checkpoint goes when
    training ends. ``show`` draws a progress line where standard error is a terminal.

    On another device than the CPU some threads make the next batches in the meantime; ``ahead=False`` is for batches that
    depend on what the network has learnt.

    The work is done in a thread of its own, so that torch's settings there (denormals flushed, repeatable operations,
    seeds) touch nobody else; ``validate`` and ``batches`` are called in that thread.

    Raises :class:`~shortlist.errors.TrainingError` where the loss or a weight is no longer finite, where ``validate``
    does not give the metric, and where ``run_dir`` holds the checkpoint of another run.
    """
    if not isinstance(network, Trainable) or not any(parameter.requires_grad for parameter in network.parameters()):
        raise TrainingError(
            f"{type(network).__name__} cannot be trained by gradient: it needs a loss() and parameters that learn."
        )
    if batches.num_steps < 1:
        raise TrainingError(
            "There is no example to train on: an epoch has 0 steps. Look at what the filters and the split left."
        )
    device = torch.device(settings.device)

    def work(is_stopped: Callable[[], bool]) -> TrainingLog:
        checkpoint = None
        if run_dir is not None:
            facts = fingerprint(
                network, batches, settings=settings, is_validated=validate is not None, identity=identity or {}
            )
            checkpoint = Checkpoint(run_dir, facts=facts, every_s=settings.checkpoint_every_s)
        home = next(network.parameters()).device
        network.to(device)
        try:
            run = _Run(network, batches, settings=settings, checkpoint=checkpoint, is_stopped=is_stopped, ahead=ahead)
            return run.finish(validate, run_dir=run_dir, show=show)
        finally:
            network.to(home).eval()

    return run_apart(work, threads=settings.threads, device=device)


class _Run:
    """One training run: the network, its optimiser and where they stand."""

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        *,
        settings: Training,
        checkpoint: Checkpoint | None,
        is_stopped: Callable[[], bool],
        ahead: bool,
    ) -> None:
        self.network, self.batches, self.settings, self.ahead = network, batches, settings, ahead
        self.checkpoint, self.is_stopped = checkpoint, is_stopped
        self.device = torch.device(settings.device)
        self.module = LossModule(network)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        decays = network.weight_decays() if isinstance(network, DecaysWeights) else {}
        tables = [
            cast("nn.Parameter", module.weight) for module in network.modules() if isinstance(module, nn.Embedding)
        ]
        self.optimizer = build_optimizer(self.parameters, settings=settings, decays=decays, tables=tables)
        self.precision: AbstractContextManager[object] = nullcontext()
        if settings.precision == "bfloat16":
            self.precision = torch.autocast(self.device.type, dtype=torch.bfloat16)
        # Reading a loss waits for the device: nothing on the CPU, but a GPU should not be stopped at every step.
        self.read_every = 1 if self.device.type == "cpu" else 50
        self.position = Position()
        self.best: dict[str, Tensor] | None = None
        resumed = None if checkpoint is None else checkpoint.load(network, self.optimizer)
        if resumed is not None:
            self.position, self.best = resumed

    def finish(self, validate: Validate | None, *, run_dir: Path | None, show: bool) -> TrainingLog:
        """Train from where the run stands to its end."""
        line = ProgressLine(show=show, epochs=self.settings.epochs, num_steps=self.batches.num_steps)
        with Logs(run_dir, tensorboard=self.settings.tensorboard, records=self.position.records) as logs, line:
            while (stopped := self._stopped()) is None:
                self._train_epoch(line)
                self._end_epoch(validate, line)
                logs.write(self.position.records)
                self._save()
        if self.best is not None:
            self.network.load_state_dict(self.best)
        if self.checkpoint is not None:
            self.checkpoint.remove()
        position = self.position
        best_epoch = position.epoch if position.best_epoch is None else position.best_epoch
        return TrainingLog(tuple(position.records), best_epoch, position.best_metric, stopped, position.seconds)

    def _stopped(self) -> Literal["patience", "epochs"] | None:
        """Why training is over, read from the position alone, so that a resumed run decides as the first one did."""
        position, patience = self.position, self.settings.patience
        if position.epoch >= self.settings.epochs:
            return "epochs"
        if patience is None or position.best_epoch is None or not position.records[-1].metrics:
            return None
        return "patience" if position.epoch - position.best_epoch >= patience else None

    def _train_epoch(self, line: ProgressLine) -> None:
        """Take the steps of the epoch that are not done yet."""
        position, settings, num_steps = self.position, self.settings, self.batches.num_steps
        self.network.train()
        began = time.perf_counter() - position.epoch_seconds
        unread: list[Tensor] = []
        made = in_order(self.batches, epoch=position.epoch, start=position.step, device=self.device, ahead=self.ahead)
        for step, examples in enumerate(made, start=position.step):
            set_learning_rate(self.optimizer, self._learning_rate(step))
            seed_torch(step_seed(settings.seed, position.epoch, step), device=self.device)
            for parameter in self.parameters:
                parameter.grad = None
            with self.precision:
                loss = self.module(examples)
            unread.append(loss.detach())
            if len(unread) >= self.read_every:
                self._read(unread, step)
            loss.backward()
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm)
            self.optimizer.step()
            position.step = step + 1
            position.examples += len(examples)
            position.epoch_seconds = time.perf_counter() - began
            is_stopped = self.is_stopped()
            if is_stopped or (self.checkpoint is not None and self.checkpoint.is_due()):
                self._read(unread, step)
                self._save()
            if is_stopped:
                raise TrainingError(f"Training was interrupted after step {step + 1} of epoch {position.epoch + 1}.")
            line.step(
                epoch=position.epoch + 1,
                step=position.step,
                loss=position.loss_sum / max(1, position.step - len(unread)),
                examples_per_s=position.examples / position.epoch_seconds,
            )
        self._read(unread, num_steps - 1)

    def _end_epoch(self, validate: Validate | None, line: ProgressLine) -> None:
        """Validate where it is due, keep the weights if they are the best, and move on to the next epoch."""
        position, settings = self.position, self.settings
        epoch = position.epoch + 1
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            self._fail(f"A weight is no longer finite after epoch {epoch}, though every loss was")
        began = time.perf_counter()
        metrics: dict[str, float] = {}
        if validate is not None and (epoch % settings.validate_every == 0 or epoch == settings.epochs):
            metrics = self._validate(validate, epoch)
            value, best, best_epoch = metrics[settings.metric], position.best_metric, position.best_epoch
            if best is None or best_epoch is None or settings.is_better(value, best):
                position.best_metric, position.best_epoch = best, best_epoch = value, epoch
                self._keep_weights()
            line.validated(metric=settings.metric, value=value, best=best, best_epoch=best_epoch)
        record = EpochRecord(
            epoch=epoch,
            loss=position.loss_sum / self.batches.num_steps,
            learning_rate=self._learning_rate(self.batches.num_steps - 1),
            seconds=position.epoch_seconds,
            examples_per_s=position.examples / position.epoch_seconds,
            metrics=metrics,
        )
        self.position = Position(
            epoch=epoch,
            seconds=position.seconds + position.epoch_seconds + time.perf_counter() - began,
            records=[*position.records, record],
            best_epoch=position.best_epoch,
            best_metric=position.best_metric,
        )

    def _learning_rate(self, step: int) -> float:
        """The rate of a step of the current epoch."""
        num_steps = self.batches.num_steps
        total, step = self.settings.epochs * num_steps, self.position.epoch * num_steps + step
        stalls = self._stalls() if self.settings.schedule == "plateau" else 0
        return learning_rate(step, settings=self.settings, total_steps=total, stalls=stalls)

    def _stalls(self) -> int:
        """How many validations so far were not the best until then."""
        best, stalls = None, 0
        for value in (record.metrics[self.settings.metric] for record in self.position.records if record.metrics):
            if best is None or self.settings.is_better(value, best):
                best = value
            else:
                stalls += 1
        return stalls

    def _validate(self, validate: Validate, epoch: int) -> dict[str, float]:
        self.network.eval()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in validate().items()}
        value = metrics.get(self.settings.metric)
        if value is None:
            found = ", ".join(metrics)
            raise TrainingError(
                f"The validation gives no {self.settings.metric!r}, which decides the best epoch. It gives: {found}. "
                f"Set training.metric to one of them.{nearest(self.settings.metric, metrics)}"
            )
        if not math.isfinite(value):
            raise TrainingError(
                f"The validation after epoch {epoch} gives {self.settings.metric} = {value}. "
                "Look at whether the validation events are enough to compute it."
            )
        return metrics

    def _keep_weights(self) -> None:
        weights = self.network.state_dict()
        if self.best is None:
            self.best = {name: tensor.clone() for name, tensor in weights.items()}
        else:
            for name, tensor in weights.items():
                self.best[name].copy_(tensor)

    def _read(self, unread: list[Tensor], step: int) -> None:
        """Add the ``unread`` losses, the last of which is that of ``step``, to the epoch's sum, and empty the list."""
        for index, loss in enumerate(unread):
            value = loss.item()
            if not math.isfinite(value):
                where = f"epoch {self.position.epoch + 1}, step {step + 2 - len(unread) + index}"
                self._fail(f"The loss became {value} at {where}")
            self.position.loss_sum += value
        unread.clear()

    def _fail(self, what: str) -> NoReturn:
        """End a run that cannot go on. Its checkpoint goes too: resumed, it would come to the same point."""
        if self.checkpoint is not None:
            self.checkpoint.remove()
        raise TrainingError(
            f"{what}. Nothing of this run is saved. Try a lower training.learning_rate (now {self.settings.learning_rate}) "
            f"or training.clip_norm (now {self.settings.clip_norm}; 1.0 is common), and look for extreme values in the features."
        )

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(self.network, self.optimizer, best=self.best, position=self.position)
