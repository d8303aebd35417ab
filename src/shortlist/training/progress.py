"""Where a training run stands, as one line on a terminal; silent anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # loaded where a line is drawn: a process that serves has no need of it
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["ProgressLine"]

REFRESH_S = 0.1


class ProgressLine:
    """Epoch, step, loss, examples per second and the last validation, drawn at most ten times a second."""

    def __init__(self, *, show: bool, epochs: int, num_steps: int, console: Console | None = None) -> None:
        self._epochs, self._num_steps = epochs, num_steps
        self._bar: Progress | None = None
        self._task: TaskID
        self._next_draw = 0.0
        if not show:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True) if console is None else console
        if console.is_terminal:
            speed = TextColumn("[cyan]{task.fields[loss]}[/] {task.fields[speed]} [green]{task.fields[best]}[/]")
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                speed,
            )
            self._bar = Progress(*columns, console=console, refresh_per_second=1 / REFRESH_S)
            self._task = self._bar.add_task("training", total=num_steps, loss="", speed="", best="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, *, epoch: int, step: int, loss: float, examples_per_s: float) -> None:
        """Show that ``step`` steps of ``epoch`` (from 1) are done, with the epoch's mean ``loss`` so far."""
        if self._bar is None or (time.monotonic() < self._next_draw and step < self._num_steps):
            return
        self._next_draw = time.monotonic() + REFRESH_S
        self._bar.update(
            self._task,
            description=f"epoch {epoch}/{self._epochs}",
            completed=step,
            loss=f"loss {loss:.4f}",
            speed=f"{examples_per_s:,.0f} examples/s",
        )

    def validated(self, *, metric: str, value: float, best: float, best_epoch: int) -> None:
        """Show the last validation beside the best one."""
        if self._bar is not None:
            self._bar.update(self._task, best=f"{metric} {value:.4f} (best {best:.4f}, epoch {best_epoch})")
