"""Item-kNN against similarities made by hand and by dense numpy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from shortlist.contracts import Candidates, Catalogue, Filter, Interactions, Requests
from shortlist.errors import SettingsError, TrainingError
from shortlist.models.item_knn import ItemKNN, ItemKNNNetwork

PLAIN = ItemKNN(shrinkage=0.0, feature_weighting="none")
# Item 1 is liked by users 1 and 2, item 2 by all three, item 3 by users 2 and 3, item 4 by nobody, item 5 by user 4.
THREE = [[1, 2], [1, 2, 3], [2, 3], [5]]


def events(rows: list[list[int]], *, num_items: int, liked: list[bool] | None = None) -> Interactions:
    lengths = torch.tensor([0, 0, *(len(row) for row in rows)])
    items = torch.tensor([item for row in rows for item in row], dtype=torch.int32)
    return Interactions(
        torch.cumsum(lengths, 0), items, num_items, liked=None if liked is None else torch.tensor(liked)
    )


def solved(settings: ItemKNN, interactions: Interactions) -> ItemKNNNetwork:
    network = settings.build(Catalogue(num_users=interactions.num_rows - 1, num_items=interactions.num_items))
    network.solve(interactions)
    return network


def asked(*histories: list[int]) -> Requests:
    width = max(len(history) for history in histories)
    rows = [history + [0] * (width - len(history)) for history in histories]
    return Requests(history=torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width))


def scores_of(found: Candidates, row: int = 0) -> dict[int, float]:
    pairs = zip(found.items[row].tolist(), found.scores[row].tolist(), strict=True)
    return {item: round(score, 5) for item, score in pairs if item != 0}


def dense_scores(
    rows: list[list[int]], history: list[int], *, num_items: int, settings: ItemKNN
) -> npt.NDArray[np.float64]:
    """The same by a dense table: every target keeps its most similar sources."""
    liked = np.zeros((len(rows), num_items + 1))
    for user, row in enumerate(rows):
        liked[user, row] = math.log((num_items + 1) / len(set(row))) if settings.feature_weighting == "tf_idf" else 1.0
    shared = liked.T @ liked
    own = np.diag(shared)
    whole = np.sqrt(np.outer(own, own)) if settings.similarity == "cosine" else own[:, None] + own - shared
    similarity = shared / np.maximum(whole + settings.shrinkage, 1e-12)
    np.fill_diagonal(similarity, 0)
    for target in range(num_items + 1):
        similarity[target, np.argsort(-similarity[target])[settings.neighbours :]] = 0
    scores: npt.NDArray[np.float64] = similarity[:, sorted(set(history))].sum(1)
    return scores


def test_cosine_is_the_shared_users_over_the_geometric_mean() -> None:
    found = solved(PLAIN, events(THREE, num_items=5)).search(asked([1]), 5)
    assert scores_of(found) == {2: round(2 / math.sqrt(2 * 3), 5), 3: 0.5}


def test_jaccard_is_the_shared_users_over_the_union() -> None:
    found = solved(dataclasses.replace(PLAIN, similarity="jaccard"), events(THREE, num_items=5)).search(asked([1]), 5)
    assert scores_of(found) == {2: round(2 / 3, 5), 3: round(1 / 3, 5)}


def test_shrinkage_is_added_to_the_denominator() -> None:
    found = solved(dataclasses.replace(PLAIN, shrinkage=2.0), events(THREE, num_items=5)).search(asked([1]), 5)
    assert scores_of(found) == {2: round(2 / (math.sqrt(6) + 2), 5), 3: 0.25}


def test_tf_idf_lets_a_user_of_many_items_count_less() -> None:
    rows = [[1, 2], [1, 3, 4, 5, 6]]  # 1 goes with 2 for a picky user, with 3 for one who likes almost anything
    plain = scores_of(solved(PLAIN, events(rows, num_items=6)).search(asked([1]), 6))
    assert plain[2] == plain[3]
    weighted = scores_of(
        solved(dataclasses.replace(PLAIN, feature_weighting="tf_idf"), events(rows, num_items=6)).search(asked([1]), 6)
    )
    assert weighted[2] > weighted[3]


def test_a_history_adds_up() -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    found = scores_of(network.search(asked([1, 3]), 5))
    assert found == {1: 0.5, 2: round(4 / math.sqrt(6), 5), 3: 0.5}


def test_an_item_scores_only_by_its_own_nearest_neighbours() -> None:
    rows = [[1, 2], [1, 2], [2, 3], [2, 4], [1, 3]]  # 3's two neighbours are 1 and 2; 2's nearest is 1
    network = solved(dataclasses.replace(PLAIN, neighbours=1), events(rows, num_items=4))
    assert 2 not in scores_of(network.search(asked([3]), 4))
    assert scores_of(network.search(asked([1]), 4))[2] == pytest.approx(2 / math.sqrt(3 * 4), abs=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("weighting", ["none", "tf_idf"])
@pytest.mark.parametrize("cells", [1 << 22, 64])
def test_random_likes_give_what_a_dense_table_gives(
    similarity: Any, weighting: Any, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the table of items by items is worked out at once or one or two rows at a time."""
    monkeypatch.setattr("shortlist.models.item_knn._PAIRS_AT_ONCE", cells)
    draw = np.random.default_rng(0)
    rows = [draw.choice(29, size=draw.integers(1, 12), replace=False).__add__(1).tolist() for _ in range(60)]
    settings = ItemKNN(neighbours=29, shrinkage=3.0, similarity=similarity, feature_weighting=weighting)
    network = solved(settings, events(rows, num_items=30))
    history = [3, 17, 3, 8]
    expected = dense_scores(rows, history, num_items=30, settings=settings)
    found = network.search(asked(history), 30)
    assert len(scores_of(found)) == int((expected > 0).sum())
    for item, score in scores_of(found).items():
        assert score == pytest.approx(expected[item], abs=2e-5)
    assert found.scores[0].diff().le(0).logical_or(found.items[0, 1:] == 0).all()


def test_padding_order_and_repeats_in_a_history_change_nothing() -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    plain = network.search(asked([1, 3]), 4)
    for history in ([3, 1], [1, 3, 0, 0], [1, 3, 1, 3], [1, 0, 3]):
        assert scores_of(network.search(asked(history), 4)) == scores_of(plain)


def test_a_repeated_like_counts_once() -> None:
    once = solved(ItemKNN(), events(THREE, num_items=5))
    twice = solved(ItemKNN(), events([row + row for row in THREE], num_items=5))
    assert twice.values.equal(once.values)


def test_only_liked_events_count() -> None:
    network = solved(PLAIN, events([[1, 2, 3]], num_items=3, liked=[True, False, True]))
    assert scores_of(network.search(asked([1]), 3)) == {3: 1.0}


def test_filters_act_before_the_cut() -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    assert network.search(asked([1], [1]), 1, filter=Filter(exclude=torch.tensor([[2], [0]]))).items.tolist() == [
        [3],
        [2],
    ]
    allowed = torch.tensor([False, True, False, True, True, True])
    assert network.search(asked([1]), 2, filter=Filter(allowed=allowed)).items.tolist() == [[3, 0]]


def test_items_that_never_meet_have_no_neighbours() -> None:
    network = solved(PLAIN, events([[1], [2], [2]], num_items=2))
    assert network.can_serve(asked([1, 2])).tolist() == [False]
    assert network.search(asked([1, 2]), 2).items.tolist() == [[0, 0]]


def test_items_like_nothing_in_the_history_leave_empty_slots() -> None:
    found = solved(PLAIN, events(THREE, num_items=5)).search(asked([1], []), 5)
    assert found.items.tolist() == [[2, 3, 0, 0, 0], [0] * 5]
    assert (found.scores[1] == -torch.inf).all()


def test_who_has_no_item_with_neighbours_cannot_be_served() -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    assert network.can_serve(asked([4, 1], [4], [5], [])).tolist() == [True, False, False, False]
    unknown = Requests(user=torch.tensor([1, 2]))
    assert network.can_serve(unknown).tolist() == [False, False]
    assert network.search(unknown, 2).items.tolist() == [[0, 0], [0, 0]]


def test_many_requests_get_the_same_answer_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    requests, exclude = asked([1], [2, 3], [], [3], [5, 1]), torch.tensor([[2], [0], [0], [1], [0]])
    together = network.search(requests, 3, filter=Filter(exclude=exclude))
    monkeypatch.setattr("shortlist.models.item_knn._SCORES_AT_ONCE", 1)
    alone = network.search(requests, 3, filter=Filter(exclude=exclude))
    assert alone.items.equal(together.items)
    assert alone.scores.equal(together.scores)
    assert network.search(requests.take(torch.arange(0)), 3).items.shape[0] == 0


def test_a_saved_state_answers_the_same() -> None:
    network = solved(ItemKNN(neighbours=2), events(THREE, num_items=5))
    copy = ItemKNN(neighbours=2).build(Catalogue(num_users=4, num_items=5))
    copy.load_state_dict(network.state_dict())
    kept, loaded = network.search(asked([1], [2]), 5), copy.search(asked([1], [2]), 5)
    assert loaded.items.equal(kept.items)
    assert loaded.scores.equal(kept.scores)


def test_solving_again_forgets_the_first_neighbours() -> None:
    network = solved(PLAIN, events(THREE, num_items=5))
    network.solve(events([[4, 5]], num_items=5))
    assert network.can_serve(asked([1], [4])).tolist() == [False, True]
    assert scores_of(network.search(asked([4]), 5)) == {5: 1.0}


def test_no_positive_events_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"no positive events.*schema\.positive"):
        solved(ItemKNN(), events([[1, 2]], num_items=2, liked=[False, False]))


def test_it_is_counted_not_trained_and_says_how_much_history_it_wants() -> None:
    assert ItemKNN().sampling is None
    assert ItemKNN(history=20).history == 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"neighbours": 0}, "neighbours is 0"),
        ({"history": 0}, "history is 0"),
        ({"shrinkage": -1.0}, "shrinkage is -1.0"),
        ({"similarity": "euclid"}, "similarity is 'euclid'.*cosine, jaccard"),
        ({"feature_weighting": "bm25"}, "feature_weighting is 'bm25'.*none, tf_idf"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ItemKNN(**wrong)
