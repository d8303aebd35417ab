"""How a network is trained, as one checked record; it does not know the network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from shortlist.errors import SettingsError, nearest

__all__ = ["Training"]

# Exactly the settings whose None means "as the model recommends"; elsewhere None is a choice of its own.
RECOMMENDABLE = ("batch_size", "learning_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings of one training run. A value outside its range raises :class:`~shortlist.errors.SettingsError`.

    On the CPU, equal settings, data and number of threads give equal weights, bit for bit.

    >>> Training(epochs=5).resolve({"learning_rate": 0.002, "batch_size": 512}).learning_rate
    0.002
    >>> Training(epochs=0)
    Traceback (most recent call last):
    shortlist.errors.SettingsError: training.epochs is 0. It is a whole number of 1 or more.
    """

    epochs: int = 20
    batch_size: int | None = None  # None: what the model recommends
    learning_rate: float | None = None  # None: what the model recommends
    optimizer: Literal["adam", "adagrad", "rowwise_adagrad", "sgd"] = "adam"
    weight_decay: float = 0.0  # L2 term added to the gradient (coupled, as in torch.optim.Adam)
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    momentum: float = 0.0  # of Adagrad and SGD
    # After the warm-up: "linear" and "cosine" fall to 0, "plateau" to a tenth whenever a validation is not the best one.
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "constant"
    warmup_steps: int = 0  # steps in which the learning rate rises to its value
    clip_norm: float | None = None  # largest length of the whole gradient; None: not clipped
    patience: int | None = 3  # epochs without a better metric before training stops; None: never stops early
    validate_every: int = 1  # epochs; the last epoch is always validated
    metric: str = "ndcg@10"  # decides which epoch is best; of rmse, mae, logloss and ne lower is better
    seed: int = 0
    threads: int | None = None  # CPU threads; None: as torch is set
    device: str = "cpu"  # "cpu", "cuda" or "cuda:1"
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights stay float32
    checkpoint_every_s: float = 60.0  # seconds; 0: after every step
    tensorboard: bool = False  # also write TensorBoard events (extra "tensorboard")

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("warmup_steps", 0), ("validate_every", 1), ("seed", 0)):
            _check(name, getattr(self, name), f"a whole number of {low} or more", _is_whole(getattr(self, name), low))
        for name in ("batch_size", "patience", "threads"):
            value = getattr(self, name)
            _check(name, value, "None or a whole number of 1 or more", value is None or _is_whole(value, 1))
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            _check(name, value, "None or a number above 0", value is None or (_is_number(value) and value > 0))
        for name in ("weight_decay", "checkpoint_every_s"):
            value = getattr(self, name)
            _check(name, value, "a number of 0 or more", _is_number(value) and value >= 0)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            hint = nearest(value, choices) if isinstance(value, str) else ""
            _check(name, value, f"one of: {', '.join(choices)}", value in choices, hint)
        _check("momentum", self.momentum, "a number from 0 to below 1", _is_share(self.momentum))
        pair = isinstance(self.betas, Sequence) and len(self.betas) == 2
        _check("betas", self.betas, "two numbers from 0 to below 1", pair and all(map(_is_share, self.betas)))
        object.__setattr__(self, "betas", tuple(self.betas))  # a list where it was read from TOML
        named = isinstance(self.metric, str) and self.metric != ""
        _check("metric", self.metric, "the name of a metric, such as 'ndcg@10'", named)
        known = isinstance(self.device, str) and re.fullmatch(r"cpu|cuda(:\d+)?", self.device) is not None
        _check("device", self.device, "'cpu', 'cuda' or 'cuda:' with a number", known)
        _check("tensorboard", self.tensorboard, "true or false", isinstance(self.tensorboard, bool))

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error, which falls as the model gets better."""
        return self.metric.partition("@")[0] in ("rmse", "mae", "logloss", "ne")

    def is_better(self, value: float, other: float, /) -> bool:
        """Whether a metric's value is better than another."""
        return value < other if self.lower_is_better else value > other

    def resolve(self, recommended: Mapping[str, Any], /) -> Training:
        """The same settings with the open ones (``batch_size``, ``learning_rate``) as the model recommends.

        A setting the user gave stays. A recommendation for anything else raises
        :class:`~shortlist.errors.SettingsError`, for it could never have an effect.
        """
        for name in recommended:
            if name not in RECOMMENDABLE:
                raise SettingsError(
                    f"A model recommends training.{name}, which is not left open to it. "
                    f"Open are: {', '.join(RECOMMENDABLE)}.{nearest(name, RECOMMENDABLE)}"
                )
        return replace(self, **{name: value for name, value in recommended.items() if getattr(self, name) is None})


_CHOICES = {
    "optimizer": ("adam", "adagrad", "rowwise_adagrad", "sgd"),
    "schedule": ("constant", "linear", "cosine", "plateau"),
    "precision": ("float32", "bfloat16"),
}


def _check(name: str, value: object, allowed: str, holds: bool, hint: str = "") -> None:
    if not holds:
        raise SettingsError(f"training.{name} is {value!r}. It is {allowed}.{hint}")


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
