"""What the sequence models share: histories as they read them, a few at a time, and what each step should predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.contracts import Examples, Requests
from shortlist.models.tracing import is_traced
from shortlist.pools import Pools

STEPS_AT_ONCE = 3200  # of sequences that are embedded together, padding included


@dataclass(frozen=True, slots=True)
class Predictions:
    """M steps of a batch's sequences with the item that followed each of them."""

    step: Tensor  # (M,) where the steps stand among the batch's, laid out flat
    items: Tensor  # (M,)
    weights: Tensor | None  # (M,)
    negatives: Tensor | None  # (M, N) of its own, or (N,) shared
    pools: Pools | None  # of the steps: which shared negatives each one meets
    columns: Tensor | None  # (M,) where the item stands among those
    own_columns: Tensor | None  # (M, S) where all targets of the same sequence stand among them; repeats fill it up

    @classmethod
    def of(cls, examples: Examples) -> Predictions:
        """The steps that have something to predict, with what belongs to each."""
        steps = examples.items.shape[1]
        chosen = examples.items.flatten().nonzero().squeeze(1)  # (M,)
        row = chosen.div(steps, rounding_mode="floor")
        negatives = examples.negatives
        if negatives is not None and negatives.dim() == 3:
            negatives = negatives.flatten(0, 1)[chosen]
        columns = own_columns = pools = None
        if examples.target_column is not None:
            columns = examples.target_column.flatten()[chosen]  # (M,)
            pools = None if examples.pools is None else examples.pools.of(row)
            own_columns = torch.where(examples.items[row] > 0, examples.target_column[row], columns[:, None])
        return cls(
            chosen if examples.step is None else row * steps + examples.step.flatten()[chosen],
            examples.items.flatten()[chosen],
            None if examples.weights is None else examples.weights.flatten()[chosen],
            negatives,
            pools,
            columns,
            own_columns,
        )

    def queries(self, hidden: Tensor) -> Tensor:
        """The hidden states (M, D) of these steps, from those of all (B, T, D)."""
        found = hidden.flatten(0, 1).index_select(0, self.step)
        return found if found.dtype == torch.float64 else found.float()  # losses are summed in full precision


def recent(requests: Requests, width: int) -> tuple[Tensor, Tensor]:
    """The last ``width`` known items (B, T) of each history, oldest first and right-padded, and how many (B,) there are.

    Unknown items (index 0) are left out, as if the event had not been; repeats stay.
    """
    history = requests.history
    assert history is not None
    known = history > 0
    length = known.sum(1)
    if is_traced() or requests.length is None or not torch.equal(length, requests.length):
        steps = history.shape[1]
        place = torch.where(
            known, known.long().cumsum(1) - 1, steps
        )  # (B, T); all that is unknown goes to one place behind
        history = history.new_zeros(history.shape[0], steps + 1).scatter(1, place, history)[:, :steps]
    if not is_traced() and history.shape[1] <= width:
        return history, length
    kept, steps = length.clamp(max=width), history.shape[1]
    place = (length - kept)[:, None] + torch.arange(steps, device=history.device)  # (B, T)
    last = torch.where(place < length[:, None], history.gather(1, place.clamp(max=steps - 1)), 0)
    return last[:, :width], kept


@dataclass(frozen=True, slots=True)
class LastSteps:
    """The last step of each of B sequences that are padded on the right to T steps; of an empty one, its first padding."""

    length: Tensor  # (B,)
    place: Tensor | None  # (B,); None: every sequence fills its steps
    after: Tensor | None  # (B, T) the steps that come after it

    @classmethod
    def of(cls, length: Tensor, steps: int) -> LastSteps:
        """Those of sequences with these lengths (B,); a batch without padding, as a single request is, needs no masks."""
        if not is_traced() and steps and min(length.tolist(), default=0) == steps:
            return cls(length, None, None)
        place = (length - 1).clamp(min=0)
        return cls(length, place, torch.arange(steps, device=length.device) > place[:, None])

    def take(self, states: Tensor) -> Tensor:
        """The states (B, 1, D) of the last steps, from those of all (B, T, D)."""
        if self.place is None:
            return states[:, -1:]
        return states[torch.arange(states.shape[0], device=states.device), self.place][:, None]

    def known(self, states: Tensor) -> Tensor:
        """The same states (B, D), 0 where a sequence is empty."""
        return states if self.place is None else states.masked_fill((self.length == 0)[:, None], 0)


def last_state(hidden: Tensor, length: Tensor) -> Tensor:
    """The hidden state (B, D) after each sequence's last event, from states (B, T, D); 0 for an empty one."""
    if hidden.shape[1] == 0:
        return hidden.new_zeros(len(hidden), hidden.shape[2])
    last = LastSteps.of(length, hidden.shape[1])
    return last.known(last.take(hidden).squeeze(1))


def in_pieces(embed: Callable[[Requests], Tensor], requests: Requests) -> Tensor:
    """``embed(requests)`` (B, D); on a CPU outside of training of few sequences at a time, in half the time.

    What is computed on the way then stays in the processor's cache, and takes no fresh memory.
    """
    assert requests.history is not None
    at_once = max(1, STEPS_AT_ONCE // max(requests.history.shape[1], 1))
    is_whole = is_traced() or torch.is_grad_enabled() or requests.history.device.type != "cpu"
    if is_whole or len(requests) <= at_once:
        return embed(requests)
    pieces = torch.split(torch.arange(len(requests)), at_once)
    return torch.cat([embed(requests.take(piece)) for piece in pieces])
