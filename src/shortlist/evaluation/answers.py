"""What a shortlist function answered to lists that evaluation can read: on the CPU, and fitting the requests and the catalogue."""

from __future__ import annotations

from torch import Tensor

from shortlist.contracts import Candidates, Stages
from shortlist.errors import DataError


def on_cpu(stages: Stages) -> Stages:
    """The lists as evaluation reads them; a stage that changed nothing stays one object, which spares its figures."""
    ranked = plain_list(stages.ranked)
    retrieved = ranked if stages.retrieved is stages.ranked else plain_list(stages.retrieved)
    if stages.filtered is stages.retrieved:
        return Stages(retrieved, retrieved, ranked, stages.seconds)
    filtered = ranked if stages.filtered is stages.ranked else plain_list(stages.filtered)
    return Stages(retrieved, filtered, ranked, stages.seconds)


def plain_list(candidates: Candidates) -> Candidates:
    """A list as evaluation reads it."""
    return Candidates(candidates.items.long().cpu(), candidates.scores.cpu())


def check_targets(targets: Tensor, num_items: int) -> None:
    """Refuse targets outside of the catalogue."""
    if targets.numel() and (int(targets.min()) < 0 or int(targets.max()) > num_items):
        raise DataError(
            f"Targets run from {int(targets.min())} to {int(targets.max())}; items from 1 to {num_items} (0 pads). "
            "Encode them with the vocabulary of the model."
        )


def check_answer(stages: Stages, num_requests: int, num_items: int) -> None:
    """Refuse lists that do not fit the requests or the catalogue."""
    for name in ("retrieved", "filtered", "ranked"):
        items = getattr(stages, name).items
        if len(items) != num_requests:
            raise DataError(f"The {name} list has {len(items)} rows for {num_requests} requests. Answer one row each.")
        if items.numel() and (int(items.min()) < 0 or int(items.max()) > num_items):
            raise DataError(
                f"The {name} list holds items from {int(items.min())} to {int(items.max())}; "
                f"items run from 1 to {num_items}. Build it from the same catalogue."
            )
