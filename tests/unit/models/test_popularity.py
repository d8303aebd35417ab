"""Popularity against counts made by hand."""

from __future__ import annotations

import pytest
import torch

from shortlist.contracts import Catalogue, Filter, Interactions, Requests
from shortlist.errors import SettingsError, TrainingError
from shortlist.models.popularity import Popularity, PopularityNetwork

DAY = 86_400


def events(
    rows: list[list[int]], *, num_items: int, times: list[int] | None = None, liked: list[bool] | None = None
) -> Interactions:
    """Users 1, 2, … with the given items; ``times`` and ``liked`` are those of all events, user after user."""
    lengths = torch.tensor([0, 0, *(len(row) for row in rows)])
    items = torch.tensor([item for row in rows for item in row], dtype=torch.int32)
    return Interactions(
        torch.cumsum(lengths, 0),
        items,
        num_items,
        times=None if times is None else torch.tensor(times),
        liked=None if liked is None else torch.tensor(liked),
    )


def solved(settings: Popularity, interactions: Interactions) -> PopularityNetwork:
    network = settings.build(Catalogue(num_users=interactions.num_rows - 1, num_items=interactions.num_items))
    network.solve(interactions)
    return network


def asked(number: int) -> Requests:
    return Requests(user=torch.zeros(number, dtype=torch.int64))


def test_items_come_in_the_order_of_their_counts() -> None:
    network = solved(Popularity(), events([[3, 2], [3, 1], [3, 2]], num_items=4))
    found = network.search(asked(2), 3)
    assert found.items.tolist() == [[3, 2, 1]] * 2
    assert found.scores.tolist() == [[3.0, 2.0, 1.0]] * 2


def test_only_liked_events_count() -> None:
    network = solved(Popularity(), events([[1, 2], [1, 2]], num_items=2, liked=[False, True, False, True]))
    found = network.search(asked(1), 2)
    assert found.items.tolist() == [[2, 1]]
    assert found.scores.tolist() == [[2.0, 0.0]]


def test_recent_popularity_follows_a_drift_that_all_time_popularity_misses() -> None:
    drift = events([[1, 2], [1, 2], [1, 3]], num_items=3, times=[0, 9 * DAY, 0, 10 * DAY, DAY, 2 * DAY])
    assert solved(Popularity(), drift).search(asked(1), 1).items.tolist() == [[1]]
    recent = solved(Popularity(recent_days=2), drift).search(asked(1), 3)
    assert recent.items.tolist() == [[2, 1, 3]]  # 1 and 3 have no recent event: their all-time counts decide
    assert recent.scores.tolist() == [[2.0, 0.0, 0.0]]


def test_the_window_ends_with_the_newest_event_and_is_exactly_as_long_as_asked() -> None:
    drift = events([[1, 2, 3]], num_items=3, times=[0, 1, DAY])
    found = solved(Popularity(recent_days=1), drift).search(asked(1), 3)
    assert dict(zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True)) == {2: 1.0, 3: 1.0, 1: 0.0}


def test_an_event_counts_half_as_much_for_each_half_life_that_it_is_old() -> None:
    drift = events([[1, 2], [1, 3], [1]], num_items=3, times=[0, 4 * DAY, 0, 2 * DAY, 2 * DAY])
    found = solved(Popularity(half_life_days=2), drift).search(asked(1), 3)
    assert found.items.tolist() == [[1, 2, 3]]
    assert found.scores.tolist() == [[0.25 + 0.25 + 0.5, 1.0, 0.5]]
    both = solved(Popularity(recent_days=3, half_life_days=2), drift).search(asked(1), 3)
    assert both.items.tolist() == [[2, 1, 3]]
    assert both.scores.tolist() == [[1.0, 0.5, 0.5]]


def test_equal_counts_are_ordered_by_item_index() -> None:
    network = solved(Popularity(), events([[5, 4, 3, 2, 1]], num_items=6))
    assert network.search(asked(1), 6).items.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_recent_popularity_without_times_says_what_to_do() -> None:
    with pytest.raises(TrainingError, match=r"recent_days is 7.*no times.*schema\.timestamp.*None"):
        solved(Popularity(recent_days=7), events([[1]], num_items=1))
    with pytest.raises(TrainingError, match=r"half_life_days is 7.*no times"):
        solved(Popularity(half_life_days=7), events([[1]], num_items=1))


def test_no_positive_events_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"no positive events.*schema\.positive"):
        solved(Popularity(), events([[1, 2]], num_items=2, liked=[False, False]))


def test_filters_act_before_the_cut() -> None:
    network = solved(Popularity(), events([[1, 2, 3, 4], [1, 2, 3], [1, 2], [1]], num_items=4))
    exclude = torch.tensor([[1, 2], [4, 0]])
    assert network.search(asked(2), 2, filter=Filter(exclude=exclude)).items.tolist() == [[3, 4], [1, 2]]
    everyone = torch.tensor([False, False, True, False, True])
    assert network.search(asked(1), 2, filter=Filter(allowed=everyone)).items.tolist() == [[2, 4]]
    each = torch.tensor([[4, 3], [2, 0]])
    found = network.search(asked(2), 2, filter=Filter(allowed=each))
    assert found.items.tolist() == [[3, 4], [2, 0]]
    assert found.scores[1].tolist() == [3.0, -torch.inf]


def test_many_requests_get_the_same_answer_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = solved(Popularity(), events([[1, 2, 3], [2, 3], [3]], num_items=3))
    exclude = torch.tensor([[1], [2], [3], [0], [3]])
    together = network.search(asked(5), 2, filter=Filter(exclude=exclude)).items
    monkeypatch.setattr("shortlist.models.popularity._SCORES_AT_ONCE", 8)
    assert network.search(asked(5), 2, filter=Filter(exclude=exclude)).items.equal(together)
    assert together.tolist() == [[3, 2], [3, 1], [2, 1], [3, 2], [2, 1]]


def test_everybody_can_be_served_and_nobody_is_answered_nothing() -> None:
    network = solved(Popularity(), events([[1]], num_items=1))
    assert network.can_serve(asked(3)).tolist() == [True, True, True]
    assert network.search(asked(0), 5).items.shape[0] == 0


def test_a_saved_state_answers_the_same() -> None:
    drift = events([[1, 2], [2, 3]], num_items=3, times=[0, DAY, DAY, 0])
    network = solved(Popularity(recent_days=0.5), drift)
    copy = Popularity(recent_days=0.5).build(Catalogue(num_users=2, num_items=3))
    copy.load_state_dict(network.state_dict())
    kept, loaded = network.search(asked(1), 3), copy.search(asked(1), 3)
    assert loaded.items.equal(kept.items)
    assert loaded.scores.equal(kept.scores)


def test_counting_again_forgets_the_first_count() -> None:
    network = solved(Popularity(), events([[1, 1, 2]], num_items=2))
    network.solve(events([[2]], num_items=2))
    assert network.search(asked(1), 2).scores.tolist() == [[1.0, 0.0]]


def test_it_is_counted_not_trained() -> None:
    assert Popularity().sampling is None
    assert Popularity().recommended == {}


def test_a_window_of_no_days_is_refused() -> None:
    with pytest.raises(SettingsError, match="recent_days is 0"):
        Popularity(recent_days=0)
    with pytest.raises(SettingsError, match="half_life_days is -1"):
        Popularity(half_life_days=-1)
