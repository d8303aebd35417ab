"""A run's state to one file and back, so that a killed run goes on as if nothing had happened.

The file is safetensors with the rest as JSON in its header: no pickle, and one rename makes it valid.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shortlist.contracts import Batches
from shortlist.errors import ShortlistWarning, TrainingError
from shortlist.training.examples import digest
from shortlist.training.files import removed, written_whole
from shortlist.training.logs import EpochRecord
from shortlist.training.settings import Training

__all__ = ["Checkpoint", "Position", "fingerprint"]

FORMAT = 1
HEADER = "shortlist.training"
# Settings that change no weight (threads: compared as torch's number of threads, with a warning).
FREE = ("checkpoint_every_s", "tensorboard", "threads")


@dataclass(slots=True)
class Position:
    """Where a run stands between two steps; all but its tensors."""

    epoch: int = 0  # epochs that are done
    step: int = 0  # steps of the next epoch that are done
    loss_sum: float = 0.0  # over those steps
    examples: int = 0  # in those steps
    epoch_seconds: float = 0.0  # spent on those steps
    seconds: float = 0.0  # spent on the epochs that are done, validation included
    records: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None  # from 1
    best_metric: float | None = None


def fingerprint(
    network: nn.Module, batches: Batches, *, settings: Training, is_validated: bool, identity: Mapping[str, object]
) -> dict[str, str]:
    """What must be equal for a run to be the same run: name to value."""
    facts = {
        f"training.{each.name}": repr(getattr(settings, each.name))
        for each in fields(settings)
        if each.name not in FREE
    }
    facts |= {name: str(value) for name, value in identity.items()}
    facts |= {"validation": str(is_validated), "network": repr(network), "steps per epoch": str(batches.num_steps)}
    facts |= {
        f"weights {name}": f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items()
    }
    facts["first examples"] = digest(batches.get(0, 0))
    return facts


class Checkpoint:
    """The file ``checkpoint.safetensors`` of one run, written whole or not at all."""

    def __init__(self, run_dir: Path, *, facts: Mapping[str, str], every_s: float) -> None:
        self.path = run_dir / "checkpoint.safetensors"
        self._facts = dict(facts)
        self._every_s = every_s
        self._next = time.monotonic() + every_s

    def is_due(self) -> bool:
        """Whether the last one is older than it should be."""
        return time.monotonic() >= self._next

    def save(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        best: Mapping[str, Tensor] | None,
        position: Position,
    ) -> None:
        """Replace the file. A disk error is a :class:`~shortlist.errors.TrainingError`, and the old file stays."""
        tensors = {f"weights/{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (best or {}).items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items() if value is not None}
        header = {"format": FORMAT, "facts": self._facts, "machine": _machine(), "position": asdict(position)}
        with written_whole(self.path) as path:
            save_file(_separate(tensors), path, metadata={HEADER: json.dumps(header)})
        self._next = time.monotonic() + self._every_s

    def load(
        self, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[Position, dict[str, Tensor] | None] | None:
        """Put the saved state into ``network`` and ``optimizer``; the position and the best weights. None: no file.

        A damaged file, or one of another run, is a :class:`~shortlist.errors.TrainingError` that says what differs.
        """
        if not self.path.exists():
            return None
        header, tensors = self._read()
        self._compare(header)
        network.load_state_dict(_under("weights/", tensors))
        # Cloned, for a tensor that safetensors gives may lie in the mapped file.
        best = {name: tensor.clone() for name, tensor in _under("best/", tensors).items()}
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under("optimizer/", tensors).items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor.clone()
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        stored = header["position"]
        position = Position(**{**stored, "records": [EpochRecord(**record) for record in stored["records"]]})
        return position, best or None

    def remove(self) -> None:
        """Delete the file: the run is over."""
        removed(self.path)

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads(file.metadata()[HEADER])
                return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self.path} is damaged or no checkpoint of a training run ({error}). "
                "Delete it to train from the beginning, or give another run_dir."
            ) from error

    def _compare(self, header: dict[str, Any]) -> None:
        saved = header["facts"] if header["format"] == FORMAT else {"format": str(header["format"])}
        here = self._facts if header["format"] == FORMAT else {"format": str(FORMAT)}
        differences = _differences(saved, here)
        if differences:
            raise TrainingError(
                f"{self.path} belongs to another run: {'; '.join(differences)}. Use the same settings and data to go on "
                "with that run; to train from the beginning, delete the file or give another run_dir."
            )
        machine = _differences(header["machine"], _machine())
        if machine:
            message = f"The run goes on under other conditions ({'; '.join(machine)}): its weights may differ in the last digits."
            warnings.warn(message, ShortlistWarning, stacklevel=2)


def _machine() -> dict[str, str]:
    return {"torch": torch.__version__, "threads": str(torch.get_num_threads())}


def _differences(saved: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """At most five differences, each in words."""
    different = [name for name in {**saved, **here} if saved.get(name) != here.get(name)]
    shown = []
    for name in different[:5]:
        was, now = (" ".join(facts.get(name, "absent").split()) for facts in (saved, here))
        equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(was, now, strict=False)))
        start = max(0, equal - 40)  # a long value is shown from just before it differs
        shown.append(f"{name} was {_excerpt(was, start)}, now {_excerpt(now, start)}")
    return shown + ([f"and {len(different) - 5} more"] if len(different) > 5 else [])


def _excerpt(text: str, start: int) -> str:
    if len(text) <= 80:
        return text
    return f"{'…' if start else ''}{text[start : start + 80]}{'…' if start + 80 < len(text) else ''}"


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous and none sharing memory (tied weights do), as safetensors wants them."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        separate[name] = plain.clone() if memory in seen else plain
        seen.add(memory)
    return separate
