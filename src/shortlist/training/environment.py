"""Work to the same work in a thread of its own where torch repeats its results; nothing of it leaks to the caller."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from shortlist.errors import TrainingError

__all__ = ["run_apart", "seed_torch", "step_seed"]

T = TypeVar("T")

# Of glibc's mallopt(): from what size on memory is asked for by itself (-3), how much freed memory stays (-1), and how much
# more than is needed is asked for (-2), in bytes.
_KEEPING = {-3: 32 * 2**20, -1: 2**30, -2: 64 * 2**20}
_USUAL = {-3: 32 * 2**20, -1: 64 * 2**20, -2: 128 * 2**10}


def run_apart(work: Callable[[Callable[[], bool]], T], *, threads: int | None, device: torch.device) -> T:
    """The result of ``work(is_stopped)``, computed in a new thread under settings that make torch repeat itself.

    - Denormal numbers are flushed to 0 (a step is up to twelve times slower where they occur). The processor's flag
      belongs to a thread, and torch's workers take it from the thread that starts them: workers that the caller's
      earlier computations started would keep theirs, and results would depend on what the process did before.
      A new thread gets new workers, and the caller's flag stays as it was.
    - On the CPU, operations that add in the order in which threads happen to come (the gradient of ``weight[rows]``)
      use their repeatable form.
    - The random state, the number of threads and these switches are given back as they were.
    - Meanwhile the C library keeps freed memory for the next step (see :func:`_memory_kept`).

    When the caller is interrupted (Ctrl-C), ``is_stopped()`` becomes true; ``work`` should then return soon.
    """
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(
            f"training.device is {str(device)!r}, but torch finds {torch.cuda.device_count()} CUDA devices here. "
            "Set training.device = 'cpu', or install a torch build for the device."
        )
    stopped = threading.Event()
    wanted = torch.get_num_threads() if threads is None else threads
    future: Future[T] = Future()

    def body() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            with _memory_kept(), _repeatable(wanted, device):
                result = work(stopped.is_set)
        except BaseException as error:  # also a KeyboardInterrupt is the caller's to see
            future.set_exception(error)
        else:
            future.set_result(result)

    _dismiss_workers()
    thread = threading.Thread(target=body, name="training")
    try:
        thread.start()
        while not future.done():
            wait(
                [future], timeout=0.1
            )  # not for ever: libraries' own signal handlers can keep Ctrl-C from ending a wait
        return future.result()
    finally:
        stopped.set()
        if not future.cancel():  # cancelled where the interruption came before the thread began
            thread.join()


def _dismiss_workers() -> None:
    """End the calling thread's idle OpenMP workers; its next parallel operation starts new ones.

    OpenMP counts them beside the new thread's. Where there are more than processors, workers go to sleep at the end of
    each operation rather than wait for the next, and a training step takes 1.2 to 1.6 times as long.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # an OpenMP without it, or a system without one
        ctypes.CDLL(None).omp_pause_resource_all(1)  # omp_pause_soft


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Let glibc keep what is freed rather than give it back to the system.

    Otherwise each step of some models gets some thousand pages anew, which takes a tenth of its time and more. Afterwards
    all that is free is given back, and the limits are about those that glibc arrives at by itself.
    """
    try:
        library = ctypes.CDLL(None)
        set_limit, give_back = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        yield
        return
    for limit, size in _KEEPING.items():
        set_limit(limit, size)
    try:
        yield
    finally:
        for limit, size in _USUAL.items():
            set_limit(limit, size)
        give_back(0)


@contextmanager
def _repeatable(threads: int, device: torch.device) -> Iterator[None]:
    num_threads = torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    debugging = torch.utils.deterministic
    fills_memory = debugging.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)  # before the first parallel operation of this thread
    try:
        torch.set_num_threads(threads)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(mode=True)
            debugging.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid that costs time
        cuda = [] if device.type == "cpu" else [device]
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        torch.set_num_threads(num_threads)
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
        debugging.fill_uninitialized_memory = fills_memory  # type: ignore[attr-defined]


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A 64-bit seed of its own for every step: the SplitMix64 finaliser (Steele et al., 2014) over the three numbers.

    >>> step_seed(0, 0, 1) == step_seed(0, 0, 1), step_seed(0, 0, 1) == step_seed(0, 1, 0)
    (True, False)
    """
    mask = (1 << 64) - 1
    mixed = 0
    for part in (seed, epoch, step):
        mixed = (mixed + part + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed


def seed_torch(seed: int, /, *, device: torch.device) -> None:
    """Seed the generators that dropout and the like draw from.

    ``torch.manual_seed`` also asks every kind of device and takes 240 µs; this takes 1.4 µs on the CPU.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
