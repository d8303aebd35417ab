"""The last step: maximal marginal relevance and caps, against a plain loop over one request."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates, Ragged
from shortlist.diversity import Cap, Selection, select
from shortlist.errors import RequestError
from shortlist.features import running_total

ITEMS, WIDTH = 60, 40
generator = torch.Generator().manual_seed(0)
VECTORS = torch.randn(ITEMS + 1, 4, generator=generator)
COLOURS = torch.arange(ITEMS + 1) % 5  # 0 is no value


def ragged(rows: list[list[int]]) -> Ragged:
    lengths = torch.tensor([len(row) for row in rows])
    return Ragged(torch.tensor([value for row in rows for value in row]), running_total(lengths))


COLOUR = ragged([[value] if value and item else [] for item, value in enumerate(COLOURS.tolist())])
TAGS = [[], *([item % 3 + 1, item % 4 + 4] for item in range(1, ITEMS + 1))]


@pytest.fixture(scope="module")
def ranked() -> Candidates:
    drawn = torch.Generator().manual_seed(1)
    items = torch.stack([torch.randperm(ITEMS, generator=drawn)[:WIDTH] + 1 for _ in range(9)])
    scores = torch.randn(items.shape, generator=drawn).sort(dim=1, descending=True).values
    items[3, 5:], scores[3, 5:] = 0, -torch.inf  # a short list
    items[4], scores[4] = 0, -torch.inf  # an empty one
    return Candidates(items, scores)


def vectors(items: Tensor) -> Tensor:
    return VECTORS[items]


def plain(
    items: list[int], scores: list[float], k: int, weight: float, caps: list[tuple[list[list[int]], int]]
) -> list[int]:
    """Greedy maximal marginal relevance with caps, as the paper's formula says it."""
    known = [(item, score) for item, score in zip(items, scores, strict=True) if item]
    unit = torch.nn.functional.normalize(VECTORS.double(), dim=1)
    low, high = min((s for _, s in known), default=0), max((s for _, s in known), default=0)
    chosen: list[int] = []
    counts: list[Counter[int]] = [Counter() for _ in caps]
    while len(chosen) < k:
        best = None
        for item, score in known:
            free = all(counts[n][v] < most for n, (values, most) in enumerate(caps) for v in values[item])
            if item in chosen or not free:
                continue
            alike = max((float(unit[item] @ unit[other]) for other in chosen), default=-1.0)
            worth = (1 - weight) * (score - low) / (high - low) - weight * alike
            if best is None or worth > best[0]:
                best = (worth, item)
        if best is None:
            break
        chosen.append(best[1])
        for n, (values, _) in enumerate(caps):
            counts[n].update(values[best[1]])
    return chosen


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("capped", [False, True])
def test_every_request_is_answered_as_by_the_formula(ranked: Candidates, weight: float, capped: bool) -> None:
    caps = (Cap("tags", 3, ragged(TAGS)),) if capped else ()
    found = select(Selection(weight, caps), ranked, 10, vectors=vectors if weight else None)
    for row in range(len(ranked)):
        items, scores = ranked.items[row].tolist(), ranked.scores[row].tolist()
        wanted = plain(items, scores, 10, weight, [(TAGS, 3)] if capped else [])
        assert [item for item in found.items[row].tolist() if item] == wanted
        assert (found.items[row, len(wanted) :] == 0).all()


def test_scores_only_fall_so_that_evaluation_can_read_them(ranked: Candidates) -> None:
    for weight in (0.1, 0.5, 1.0):
        scores = select(Selection(weight, (Cap("colour", 2, COLOUR),)), ranked, 10, vectors=vectors).scores
        assert (scores[:, 1:] <= scores[:, :-1]).all()


def test_caps_alone_keep_order_and_scores(ranked: Candidates) -> None:
    found = select(Selection(caps=(Cap("colour", 2, COLOUR),)), ranked, 10, vectors=None)
    for row in range(len(ranked)):
        position = {item: place for place, item in enumerate(ranked.items[row].tolist())}
        places = [position[item] for item in found.items[row].tolist() if item]
        assert places == sorted(places)
        assert found.scores[row, : len(places)].tolist() == ranked.scores[row, places].tolist()


def test_no_value_comes_more_often_than_its_cap(ranked: Candidates) -> None:
    found = select(
        Selection(0.4, (Cap("colour", 2, COLOUR), Cap("tags", 4, ragged(TAGS)))), ranked, 10, vectors=vectors
    )
    for row in found.items.tolist():
        colours = Counter(int(COLOURS[item]) for item in row if item)
        colours.pop(0, None)  # items without a colour are not capped
        assert max(colours.values(), default=0) <= 2
        assert max(Counter(tag for item in row if item for tag in TAGS[item]).values(), default=0) <= 4


def test_an_answer_is_short_only_where_no_candidate_is_left(ranked: Candidates) -> None:
    """Four colours, at most one each, and the items without a colour: more there is not."""
    found = select(Selection(caps=(Cap("colour", 1, COLOUR),)), ranked, 30, vectors=None)
    for row in range(len(ranked)):
        there = [int(COLOURS[item]) for item in ranked.items[row].tolist() if item]
        assert int(found.valid[row].sum()) == min(30, there.count(0) + len(set(there) - {0}))


def test_near_copies_give_way_to_other_kinds() -> None:
    """Forty items of four kinds, ten after ten: the c-th other kind costs (1 - w) 10c / 39 of relevance and spares w."""
    kinds = torch.eye(4)[torch.arange(40) // 10] + 0.01 * VECTORS[:40]
    ranked = Candidates(torch.arange(1, 41)[None], torch.linspace(1, 0, 40)[None])
    shown = {}
    for weight in (0.0, 0.15, 0.35, 0.6):
        found = select(Selection(weight), ranked, 4, vectors=lambda items: kinds[(items - 1).clamp(min=0)])
        shown[weight] = ((found.items[0] - 1) // 10).unique().tolist()
    assert shown == {0.0: [0], 0.15: [0], 0.35: [0, 1, 2], 0.6: [0, 1, 2, 3]}


def test_batch_mates_change_nothing(ranked: Candidates) -> None:
    selection = Selection(0.3, (Cap("colour", 2, COLOUR),))
    together = select(selection, ranked, 10, vectors=vectors)
    alone = [
        select(selection, ranked.take(torch.tensor([row])), 10, vectors=vectors).items for row in range(len(ranked))
    ]
    assert torch.equal(together.items, torch.cat(alone))


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(diversity: float) -> None:
    with pytest.raises(RequestError, match="from 0 to 1"):
        Selection(diversity)


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"])
def test_a_cap_that_is_no_whole_number_is_refused(most: object) -> None:
    with pytest.raises(RequestError, match=r"caps\['colour'\] is"):
        Cap("colour", most, COLOUR)  # type: ignore[arg-type]
