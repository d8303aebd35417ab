"""How the answers of several sources become one list, and what a ranker is told of them."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Candidates
from shortlist.models.layers import EvidenceHead
from shortlist.sources import evidence, evidence_width, fuse


def answer(*rows: list[int]) -> Candidates:
    """Lists with falling scores; 0 is an empty slot."""
    items = torch.tensor(rows)
    scores = (10.0 - torch.arange(items.shape[1])).expand_as(items)
    return Candidates(items, scores.masked_fill(items == 0, -torch.inf))


def random_answers(*, sources: int, depth: int, items: int) -> list[Candidates]:
    generator = torch.Generator().manual_seed(0)
    lists = [
        torch.stack([torch.randperm(items, generator=generator)[:depth] + 1 for _ in range(7)]) for _ in range(sources)
    ]
    return [answer(*each.tolist()) for each in lists]


def test_reciprocal_ranks_are_summed() -> None:
    found = fuse([answer([1, 2, 3]), answer([3, 4, 1])], 4)
    assert found.items.tolist() == [[1, 3, 2, 4]]
    wanted = [1 / 61 + 1 / 63, 1 / 61 + 1 / 63, 1 / 62, 1 / 62]  # of equal ones the first source's comes first
    torch.testing.assert_close(found.scores, torch.tensor([wanted]))


def test_a_union_holds_every_item_once_and_nothing_else() -> None:
    answers = random_answers(sources=3, depth=20, items=40)
    found = fuse(answers, 60)
    for row in range(7):
        listed = [item for item in found.items[row].tolist() if item]
        assert len(set(listed)) == len(listed)
        assert set(listed) == {item for each in answers for item in each.items[row].tolist()}
        assert (found.scores[row].diff()[found.valid[row, 1:]] <= 0).all()
    cut = fuse(answers, 20)
    assert torch.equal(cut.items, found.items[:, :20])


def test_empty_slots_stay_empty() -> None:
    found = fuse([answer([5, 0, 0], [0, 0, 0]), answer([7, 5, 0], [0, 0, 0])], 3)
    assert found.items.tolist() == [[5, 7, 0], [0, 0, 0]]
    assert found.scores[1].tolist() == [-torch.inf] * 3


def test_evidence_is_each_sources_own_answer() -> None:
    answers = random_answers(sources=2, depth=10, items=25)
    found = fuse(answers, 12)
    told = evidence(found, answers)
    assert told.shape == (7, 12, evidence_width(2))
    for row in range(7):
        for slot, item in enumerate(found.items[row].tolist()):
            for number, source in enumerate(answers):
                listed = source.items[row].tolist()
                score, rank, flag = told[row, slot, 3 * number : 3 * number + 3].tolist()
                if item in listed:
                    assert (rank, flag) == (listed.index(item), 1)
                    assert score == source.scores[row, listed.index(item)]
                else:
                    assert (score, rank, flag) == (source.scores[row].min(), 10, 0)


def test_evidence_of_a_source_without_an_answer_is_finite() -> None:
    answers = [answer([4, 2]), answer([0, 0])]
    told = evidence(answers[0], answers)
    assert told[0, :, 3:].tolist() == [[0, 2, 0], [0, 2, 0]]


def test_one_source_is_told_as_score_and_rank() -> None:
    found = answer([4, 2])
    assert evidence(found, [found]).tolist() == [[[10, 0], [9, 1]]]
    assert evidence_width(1) == 2


def test_a_ranker_begins_with_the_sources_order() -> None:
    """Two sources that agree give the order they agree on, and the flags weigh nothing yet."""
    answers = [answer([4, 2, 9]), answer([4, 2, 9])]
    logits = EvidenceHead(evidence_width(2))(evidence(answers[0], answers), answers[0].valid)
    assert logits.argsort(descending=True).tolist() == [[0, 1, 2]]


def test_flags_reach_the_logit() -> None:
    head, answers = EvidenceHead(evidence_width(2)), [answer([4, 2, 9]), answer([4, 7, 8])]

    def logits() -> Tensor:
        return head(evidence(answers[0], answers), answers[0].valid)

    before = logits()
    with torch.no_grad():
        head.linear.weight[0, 5] += 1  # what the second source's flag weighs
    torch.testing.assert_close(logits() - before, torch.tensor([[1.0, 0, 0]]))
