"""Runs killed by SIGKILL at any moment end, once resumed, with the weights of a run that nobody killed.

Run as a script, this file is the process tree that dies: it loads torch once and forks a child for each attempt.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shortlist.contracts import Examples, Requests
from shortlist.training import Training, resume, train

EPOCHS, STEPS = 5, 6
SCENARIOS = {  # seconds between checkpoints, threads
    "a checkpoint after every step": (0.0, 1),
    "two threads": (0.0, 2),
    "a checkpoint after every epoch": (1e9, 1),
}
MOMENTS = ("batch", "loss", "validation", "half-written", "not renamed", "any time")  # when a child is killed


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 8)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(8, 1)

    def loss(self, examples: Examples) -> Tensor:
        bump("loss")
        predicted = self.out(self.dropout(self.table(examples.items))).squeeze(-1)  # (B, S)
        return nn.functional.mse_loss(predicted, examples.targets)


class Batches:
    num_steps = STEPS

    def get(self, epoch: int, step: int) -> Examples:
        bump("batch")
        generator = torch.Generator().manual_seed(100 * epoch + step)
        items = torch.randint(40, (64, 1), generator=generator)
        return Examples(Requests(user=items[:, 0]), items, targets=torch.sin(items.float()))


deadly: dict[str, int] = {}  # moment -> occurrences until death


def bump(moment: str) -> None:
    """Die by SIGKILL if this occurrence of ``moment`` is the chosen one."""
    if moment in deadly:
        deadly[moment] -= 1
        if deadly[moment] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run(run_dir: Path, settings: Training) -> None:
    """What the user's program does, each time in the same way."""
    torch.manual_seed(5)
    network = Network()
    items = torch.arange(40)[:, None]

    def validate() -> dict[str, float]:
        bump("validation")
        network_input = Examples(Requests(), items, targets=torch.sin(items.float()))
        return {"rmse": float(network.loss(network_input).sqrt())}

    train(network, Batches(), settings=settings, validate=validate, run_dir=run_dir)
    save_file(network.state_dict(), run_dir / "final.safetensors")


def attempt(work: Callable[[], None], *, killed_after_s: float | None) -> bool:
    """Whether a forked child came to the end of ``work``; False: it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if killed_after_s is not None:
        time.sleep(killed_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status) != 0:
        raise SystemExit("the run failed by itself")
    return True


def main(folder: Path) -> None:
    """Every scenario in a folder of its own: a run that nobody kills, and one that is killed again and again."""
    torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)  # loads what torch loads late, once for all children
    for seed, (checkpoint_every_s, threads) in enumerate(SCENARIOS.values()):
        settings = Training(
            epochs=EPOCHS,
            learning_rate=0.05,
            metric="rmse",
            patience=None,
            threads=threads,
            checkpoint_every_s=checkpoint_every_s,
        )
        whole, killed = folder / str(seed) / "whole", folder / str(seed) / "killed"
        began = time.perf_counter()
        attempt(partial(run, whole, settings), killed_after_s=None)
        whole_s = time.perf_counter() - began
        draw = random.Random(seed)
        kills, is_done = 0, False
        for moment in (*MOMENTS, *MOMENTS):
            if moment != "any time":
                deadly[moment] = draw.randint(1, 2 if moment == "validation" else 5) + (moment == "batch")
            after_s = draw.uniform(0.1, 0.6) * whole_s if moment == "any time" else None
            is_done = attempt(partial(run, killed, settings), killed_after_s=after_s)
            deadly.clear()
            if is_done:
                break
            kills += 1
        if not is_done:
            attempt(partial(run, killed, settings), killed_after_s=None)
        (folder / str(seed) / "kills").write_text(str(kills))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the process tree of :func:`main` left."""
    folder = tmp_path_factory.mktemp("resume")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_run_killed_again_and_again_ends_with_equal_weights(folder: Path, scenario: str) -> None:
    parts = folder / str(list(SCENARIOS).index(scenario))
    whole, killed = parts / "whole", parts / "killed"
    assert int((parts / "kills").read_text()) >= 4
    weights, expected = load_file(killed / "final.safetensors"), load_file(whole / "final.safetensors")
    assert {name: tensor.numpy().tobytes() for name, tensor in weights.items()} == {
        name: tensor.numpy().tobytes() for name, tensor in expected.items()
    }
    assert _log(killed) == _log(whole)
    assert [row["epoch"] for row in _log(whole)] == ["1", "2", "3", "4", "5"]
    assert sorted(path.name for path in killed.iterdir()) == ["final.safetensors", "log.csv"]


def _log(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in ("epoch", "loss", "learning_rate", "rmse")} for row in rows]


def _save_and_die(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """The real writer, but it may die with half of the file written, or with all of it and no rename."""
    save_file(tensors, path, metadata=metadata)
    size = path.stat().st_size
    if deadly.get("half-written") == 1:
        os.truncate(path, size // 2)
    bump("half-written")
    bump("not renamed")


if __name__ == "__main__":
    resume.save_file = _save_and_die  # type: ignore[assignment]
    main(Path(sys.argv[1]))
