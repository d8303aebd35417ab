"""What the rankers share: one loss over labelled events, sampled negatives and a retriever's labelled candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from shortlist.contracts import Examples, Requests, Sampling
from shortlist.models import losses
from shortlist.models.fields import AXES
from shortlist.models.layers import EvidenceHead

RankingLoss = Literal["bce", "softmax", "mse"]
# From requests, items (B, C), evidence (B, C, E), and the events and liked events (B, C, 2) that the pairs themselves are.
Score = Callable[[Requests, Tensor, Tensor | None, Tensor | None], Tensor]


def ranker_sampling(loss: RankingLoss, *, negatives: int, history: int = 0) -> Sampling:
    """Ratings for ``mse``; else labels, or where the data has none pairs with negatives."""
    if loss == "mse":
        return Sampling("ratings", history=history)
    return Sampling("labels", history=history, negatives=negatives)


RANKED = {"valid": "BC", "evidence": "BCE"}  # what ranked_rows adds to the rows of any ranker, and its axes
FIELD_ROWS = {**AXES, **RANKED}


def ranked_rows(
    rows: dict[str, Tensor], items: Tensor, evidence: Tensor | None, head: EvidenceHead | None
) -> dict[str, Tensor]:
    """``rows`` with which slots hold items (B, C), and with evidence (B, C, E) of them where there is a head for it."""
    rows["valid"] = items > 0
    if head is not None and evidence is not None:
        rows["evidence"] = evidence
    return rows


def with_evidence(scores: Tensor, head: EvidenceHead | None, rows: Mapping[str, Tensor]) -> Tensor:
    """Scores (B, C) with what the head makes of the evidence that is among the rows."""
    return scores if head is None or "evidence" not in rows else scores + head(rows["evidence"], rows["valid"])


def ranking_loss(score: Score, examples: Examples, *, loss: RankingLoss, has_items: bool = True) -> Tensor:
    """The named loss of raw scores: ``bce`` of labels, ``softmax`` of the liked among the others, ``mse`` of ratings.

    Examples with targets (labels or ratings, of single events or of lists) are learnt from as they are; others are a
    positive each with sampled negatives. Without items in the data there are no empty slots.
    """
    if examples.targets is None:
        assert examples.negatives is not None
        items = torch.cat((examples.items, examples.negatives[:, 0]), dim=1)  # (B, 1+N)
        labels = torch.zeros(items.shape, device=items.device)
        labels[:, 0] = 1
        scores = score(examples.requests, items, None, labels[..., None].expand(-1, -1, 2))
        labels = labels.to(scores.dtype)
        weights = None if examples.weights is None else examples.weights[:, 0]
        if loss == "softmax":
            return losses.softmax(scores[:, 0], scores[:, 1:], weights)
        if weights is None:
            return F.binary_cross_entropy_with_logits(scores, labels)
        rows = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
        return losses.mean(rows.mean(1), weights)
    # A retriever's candidates are labelled by later events than those that were counted.
    single = examples.evidence is None
    own = torch.stack((torch.ones_like(examples.targets), examples.targets), dim=2) if single else None
    scores = score(examples.requests, examples.items, examples.evidence, own)  # (B, S)
    valid = examples.items > 0 if has_items else torch.ones_like(examples.items, dtype=torch.bool)
    if loss == "softmax":
        return losses.list_softmax(scores, examples.targets, valid)
    weights = None if examples.weights is None else examples.weights.expand_as(scores)[valid]
    if loss == "mse":
        return losses.mse(scores[valid], examples.targets[valid], weights)
    rows = F.binary_cross_entropy_with_logits(scores[valid], examples.targets[valid], reduction="none")
    return losses.mean(rows, weights)
