"""Training settings to an optimiser, and a step's number to its learning rate."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.errors import SettingsError
from shortlist.training.settings import Training

__all__ = ["build_optimizer", "learning_rate", "set_learning_rate"]


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    settings: Training,
    decays: Mapping[nn.Parameter, float] | None = None,
    tables: Collection[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """The optimiser the settings name, over the ``parameters`` that learn. ``learning_rate`` must be set by then.

    ``decays`` are the weight decays of parameters that have their own. A decay is coupled: it adds itself times the
    weights to the gradient, as half of it times their squared length in the loss would. ``tables`` are the embedding
    tables, which ``rowwise_adagrad`` treats a row at a time.

    Adam runs fused: one pass over the memory, 10 times faster than unfused on a table of 200,000 rows by 64 (one thread).
    """
    if settings.learning_rate is None:
        raise SettingsError("training.learning_rate is not set. Give it, or resolve() the settings with a model's own.")
    rate, decay, groups = settings.learning_rate, settings.weight_decay, dict[tuple[float, bool], list[nn.Parameter]]()
    by_row = {id(table) for table in tables} if settings.optimizer == "rowwise_adagrad" else set()
    for parameter in parameters:
        if parameter.requires_grad:
            kind = (decays or {}).get(parameter, decay), id(parameter) in by_row
            groups.setdefault(kind, []).append(parameter)
    learning: list[dict[str, Any]] = [{"params": group, "weight_decay": own} for (own, _), group in groups.items()]
    if settings.optimizer == "adam":
        return Adam(learning, lr=rate, betas=settings.betas, weight_decay=decay, fused=True)
    if settings.optimizer == "adagrad":
        return Adagrad(learning, lr=rate, momentum=settings.momentum, weight_decay=decay)
    if settings.optimizer == "rowwise_adagrad":
        for group, (_, is_table) in zip(learning, groups, strict=True):
            group["by_row"] = is_table
        return RowwiseAdagrad(learning, lr=rate, weight_decay=decay)
    return torch.optim.SGD(learning, lr=rate, momentum=settings.momentum, weight_decay=decay)


class Adam(torch.optim.Adam):
    """torch's fused Adam with the same state, without what it sorts out anew at every step.

    With many small parameters that takes longer than the update: of SASRec's step on Amazon Beauty a twentieth.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            weights, gradients, means, squares, steps = [list[Tensor]() for _ in range(5)]
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                if gradient.is_sparse:
                    raise RuntimeError("Adam does not support sparse gradients.")
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros((), device=weight.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                weights.append(weight)
                gradients.append(gradient)
                means.append(state["exp_avg"])
                squares.append(state["exp_avg_sq"])
                steps.append(state["step"])
            if not weights:
                continue
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                weights,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    step.hooked = True  # type: ignore[attr-defined]  # or torch wraps it for its profiler, a tenth of a small step's update


class _EachParameter(torch.optim.Optimizer):
    """An optimiser whose step is an ``_update`` of each parameter by itself."""

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, self.state[parameter], group)


class Adagrad(_EachParameter):
    """Adagrad (Duchi et al. 2011) as GRU4Rec's authors have it: ``w -= lr * g / sqrt(sum of g² + 1e-6)``.

    torch's adds its epsilon outside of the root. With ``momentum`` the last step, times it, is added to the next. Of a
    sparse gradient, only the rows it holds are touched: their sums, their momentum and their weights.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        epsilon: float = 1e-6,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "epsilon": epsilon}
        super().__init__(parameters, defaults)

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        if not state:
            state["sum"] = torch.zeros_like(weight)
            if group["momentum"]:
                state["step_before"] = torch.zeros_like(weight)
        rows, gradient = _touched(weight, gradient, group["weight_decay"])
        _add(state["sum"], rows, gradient.square())
        step = _rows(state["sum"], rows).add(group["epsilon"]).rsqrt_().mul_(gradient).mul_(-group["lr"])
        if group["momentum"]:
            step.add_(_rows(state["step_before"], rows), alpha=group["momentum"])
            state["step_before"] = step if rows is None else state["step_before"].index_copy_(0, rows, step)
        _add(weight, rows, step)


class RowwiseAdagrad(_EachParameter):
    """Adagrad with one sum for each row of an embedding table: of the mean of its gradient's squares (DLRM's authors).

    ``w -= lr * g / (sqrt(sum) + 1e-10)``; parameters that are no tables have a sum for each number. The gradients of a
    row that a batch meets several times are added up first. Of a sparse gradient, only the rows it holds are touched.
    """

    def __init__(
        self, parameters: Iterable[dict[str, Any]], *, lr: float, weight_decay: float = 0.0, epsilon: float = 1e-10
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "epsilon": epsilon, "by_row": False})

    def _update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        if not state:
            state["sum"] = weight.new_zeros(len(weight), 1) if group["by_row"] else torch.zeros_like(weight)
        rows, gradient = _touched(weight, gradient, group["weight_decay"])
        squares = gradient.square()
        _add(state["sum"], rows, squares.mean(1, keepdim=True) if group["by_row"] else squares)
        scale = _rows(state["sum"], rows).sqrt().add_(group["epsilon"]).reciprocal_().mul_(-group["lr"])
        _add(weight, rows, gradient * scale)


def _touched(weight: Tensor, gradient: Tensor, decay: float) -> tuple[Tensor | None, Tensor]:
    """The rows that a gradient holds (None: all) and its values for them, each row once, with the decay of the weights."""
    rows: Tensor | None = None
    if gradient.is_sparse:
        rows, order = torch.sort(gradient._indices()[0], stable=True)
        rows, counts = torch.unique_consecutive(rows, return_counts=True)
        # Much faster than coalesce(), which works on one processor.
        gradient = F.embedding_bag(order, gradient._values(), counts.cumsum(0) - counts, mode="sum")
    return rows, gradient.add(_rows(weight, rows), alpha=decay) if decay else gradient


def _add(values: Tensor, rows: Tensor | None, more: Tensor) -> None:
    """Add to the given rows, or to all of ``values``."""
    if rows is None:
        values.add_(more)
    else:
        values.index_add_(0, rows, more)


def _rows(values: Tensor, rows: Tensor | None) -> Tensor:
    """A copy of the given rows, or all of ``values`` themselves."""
    return values if rows is None else values.index_select(0, rows)


def learning_rate(step: int, *, settings: Training, total_steps: int, stalls: int = 0) -> float:
    """The learning rate of ``step`` (from 0) of ``total_steps``; a pure function, so a resumed run needs no scheduler.

    It rises in equal parts over ``warmup_steps``, then stays, falls to 0 in a line or along half a cosine, or is divided
    by 10 for each of the ``stalls``, validations that were not the best until then.

    >>> settings = Training(learning_rate=1.0, warmup_steps=2, schedule="linear")
    >>> [learning_rate(step, settings=settings, total_steps=6) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if settings.learning_rate is None:
        raise SettingsError("training.learning_rate is not set. Give it, or resolve() the settings with a model's own.")
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule in ("constant", "plateau"):
        return settings.learning_rate * (0.1**stalls if settings.schedule == "plateau" else 1)
    done = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)  # from 0 to below 1
    left = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * left


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, /) -> None:
    """Let the next step use ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate
