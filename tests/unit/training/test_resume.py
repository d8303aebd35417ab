from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from shortlist.contracts import Examples
from shortlist.errors import ShortlistWarning, TrainingError
from shortlist.training import Training, train

Make = Callable[..., Any]
SETTINGS = Training(epochs=4, learning_rate=0.01, checkpoint_every_s=0, patience=None)


class Killed(Exception):
    """Stands for the death of the process."""


class _Dying:
    """Batches that end the process after some steps."""

    def __init__(self, batches: Any, *, steps: int) -> None:
        self.batches, self.left, self.num_steps = batches, steps + 1, batches.num_steps  # one more: the fingerprint's

    def get(self, epoch: int, step: int) -> Examples:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return self.batches.get(epoch, step)


def _weights(network: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


def _start(line: Make, batches: Make, run_dir: Path, *, steps: int, settings: Training = SETTINGS, **rest: Any) -> None:
    with pytest.raises(Killed):
        train(line(dropout=0.5), _Dying(batches(), steps=steps), settings=settings, run_dir=run_dir, **rest)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
@pytest.mark.parametrize("steps", [1, 5, 13])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    line: Make, batches: Make, tmp_path: Path, optimizer: Any, steps: int
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, schedule="cosine", warmup_steps=3, clip_norm=0.5)
    whole, resumed = line(dropout=0.5), line(dropout=0.5)
    expected = train(whole, batches(), settings=settings)
    _start(line, batches, tmp_path, steps=steps, settings=settings)
    log = train(resumed, batches(), settings=settings, run_dir=tmp_path)
    assert _weights(resumed) == _weights(whole)
    assert [record.loss for record in log.epochs] == [record.loss for record in expected.epochs]
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_resumed_run_remembers_the_best_epoch_and_its_weights(line: Make, batches: Make, tmp_path: Path) -> None:
    network, seen = line(dropout=0.5), []
    settings = replace(SETTINGS, epochs=9, patience=2)

    def validation(*values: float) -> Callable[[], dict[str, float]]:
        left = iter(values)
        return lambda: {"ndcg@10": next(left)}

    def noted() -> dict[str, float]:
        seen.append(_weights(network))
        return {"ndcg@10": [0.1, 0.4, 0.2, 0.3][len(seen) - 1]}

    train(network, batches(), settings=settings, validate=noted)
    _start(line, batches, tmp_path, steps=12, settings=settings, validate=validation(0.1, 0.4))
    resumed = line(dropout=0.5)
    log = train(resumed, batches(), settings=settings, validate=validation(0.2, 0.3), run_dir=tmp_path)
    assert (log.best_epoch, log.best_metric, log.stopped, len(log.epochs)) == (2, 0.4, "patience", 4)
    assert _weights(resumed) == seen[1]


def test_checkpoints_come_at_each_epochs_end_however_rare_they_are(line: Make, batches: Make, tmp_path: Path) -> None:
    _start(line, batches, tmp_path, steps=12, settings=replace(SETTINGS, checkpoint_every_s=1e9))
    position = _header(tmp_path)["position"]
    assert (position["epoch"], position["step"], len(position["records"])) == (2, 0, 2)


def test_without_a_run_dir_nothing_is_written(
    line: Make, batches: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(line(), batches(), settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []


def _header(run_dir: Path) -> Any:
    with safe_open(run_dir / "checkpoint.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["shortlist.training"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.02}, r"training\.learning_rate was 0\.01, now 0\.02"),
        ({"epochs": 5}, r"training\.epochs was 4, now 5"),
        ({"seed": 7, "optimizer": "sgd"}, r"training\.optimizer was 'adam', now 'sgd'; training\.seed was 0, now 7"),
    ],
)
def test_other_settings_are_refused_by_name(
    line: Make, batches: Make, tmp_path: Path, change: Any, message: str
) -> None:
    _start(line, batches, tmp_path, steps=3)
    with pytest.raises(TrainingError, match=f"belongs to another run: {message}\\. Use the same settings"):
        train(line(dropout=0.5), batches(), settings=replace(SETTINGS, **change), run_dir=tmp_path)


def test_another_network_other_data_or_another_identity_is_refused_by_name(
    line: Make, batches: Make, tmp_path: Path
) -> None:
    _start(line, batches, tmp_path, steps=3, identity={"model": "Line(width=4)"})
    identity = {"model": "Line(width=4)"}

    def message(network: nn.Module, data: Any, **rest: Any) -> str:
        with pytest.raises(TrainingError) as error:
            train(network, data, settings=SETTINGS, run_dir=tmp_path, **{"identity": identity, **rest})
        return str(error.value)

    wider = line(dropout=0.5)
    wider.out = nn.Linear(4, 2)
    assert "weights out.weight was torch.float32 (1, 4), now torch.float32 (2, 4)" in message(wider, batches())
    assert "Dropout(p=0.5, inplace=False)" in message(line(dropout=0.1), batches())
    assert "steps per epoch was 5, now 6" in message(line(dropout=0.5), batches(num_steps=6))
    assert "first examples was" in message(line(dropout=0.5), batches(seed=1))
    assert "model was Line(width=4), now Line(width=8)" in message(
        line(dropout=0.5), batches(), identity={"model": "Line(width=8)"}
    )
    assert "validation was False, now True" in message(line(dropout=0.5), batches(), validate=lambda: {"ndcg@10": 0.0})
    train(line(dropout=0.5), batches(), settings=SETTINGS, run_dir=tmp_path, identity=identity)


def test_settings_that_change_no_weight_may_differ(line: Make, batches: Make, tmp_path: Path) -> None:
    _start(line, batches, tmp_path, steps=3)
    train(line(dropout=0.5), batches(), settings=replace(SETTINGS, checkpoint_every_s=9, threads=1), run_dir=tmp_path)


def test_another_number_of_threads_is_told(line: Make, batches: Make, tmp_path: Path) -> None:
    _start(line, batches, tmp_path, steps=3)
    with pytest.warns(ShortlistWarning, match=r"threads was 1, now 2\): its weights may differ"):
        train(line(dropout=0.5), batches(), settings=replace(SETTINGS, threads=2), run_dir=tmp_path)


def test_a_damaged_checkpoint_is_refused(line: Make, batches: Make, tmp_path: Path) -> None:
    _start(line, batches, tmp_path, steps=3)
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"checkpoint\.safetensors is damaged or no checkpoint"):
            train(line(dropout=0.5), batches(), settings=SETTINGS, run_dir=tmp_path)


def test_a_checkpoint_of_another_format_is_refused(
    line: Make, batches: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.training.resume.FORMAT", 77)
    _start(line, batches, tmp_path, steps=3)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="format was 77, now 1"):
        train(line(dropout=0.5), batches(), settings=SETTINGS, run_dir=tmp_path)


def test_what_a_killed_writer_left_is_never_read(line: Make, batches: Make, tmp_path: Path) -> None:
    whole, resumed = line(dropout=0.5), line(dropout=0.5)
    train(whole, batches(), settings=SETTINGS)
    _start(line, batches, tmp_path, steps=3)
    left = tmp_path / "checkpoint.safetensors.part"
    left.mkdir()
    (left / "checkpoint.safetensors").write_bytes(b"half of it")
    (left / ".tmpX1").write_bytes(b"what safetensors itself left")
    train(resumed, batches(), settings=SETTINGS, run_dir=tmp_path)
    assert _weights(resumed) == _weights(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv"]


def test_a_full_disk_stops_with_a_clear_error_and_keeps_the_last_checkpoint(
    line: Make, batches: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _start(line, batches, tmp_path, steps=7)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    left = iter([None])  # log.csv can still be written

    def full(descriptor: int) -> None:
        try:
            next(left)
        except StopIteration:
            raise OSError(28, "No space left on device") from None

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"cannot be written: .*No space left on device.*Free some space"):
        train(line(dropout=0.5), batches(), settings=SETTINGS, run_dir=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


class _Tied(nn.Module):
    """Two names for one weight, and a weight that never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 1)
        self.out = nn.Linear(1, 20, bias=False)
        self.out.weight = self.table.weight
        self.idle = nn.Parameter(torch.ones(2, 3).t())

    def loss(self, examples: Examples) -> Tensor:
        return (self.out(self.table(examples.items[:, 0])) - examples.targets).square().mean()


def test_tied_weights_and_weights_without_gradient_resume(batches: Make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second, third = _Tied(), _Tied(), _Tied()
    second.load_state_dict(first.state_dict())
    train(first, batches(), settings=SETTINGS)
    with pytest.raises(Killed):
        train(second, _Dying(batches(), steps=7), settings=SETTINGS, run_dir=tmp_path)
    train(third, batches(), settings=SETTINGS, run_dir=tmp_path)
    assert _weights(third) == _weights(first)
    assert third.out.weight is third.table.weight
