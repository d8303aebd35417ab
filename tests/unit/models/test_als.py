"""Implicit ALS against the normal equations solved densely in numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from shortlist.contracts import Catalogue, Interactions, Requests
from shortlist.errors import SettingsError, TrainingError
from shortlist.models.als import ALS, ALSNetwork

Array = npt.NDArray[np.float64]


def events(rows: list[list[int]], *, num_items: int, liked: list[bool] | None = None) -> Interactions:
    lengths = torch.tensor([0, 0, *(len(row) for row in rows)])
    items = torch.tensor([item for row in rows for item in row], dtype=torch.int32)
    return Interactions(
        torch.cumsum(lengths, 0), items, num_items, liked=None if liked is None else torch.tensor(liked)
    )


def random_rows(*, num_users: int = 40, num_items: int = 25, longest: int = 12) -> list[list[int]]:
    draw = np.random.default_rng(0)
    return [
        (draw.choice(num_items, size=draw.integers(1, longest), replace=False) + 1).tolist() for _ in range(num_users)
    ]


def built(settings: ALS, *, num_users: int, num_items: int) -> ALSNetwork:
    torch.manual_seed(0)
    return settings.build(Catalogue(num_users=num_users, num_items=num_items))


def asked(histories: list[list[int]]) -> Requests:
    width = max(len(history) for history in histories)
    rows = [history + [0] * (width - len(history)) for history in histories]
    return Requests(history=torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width))


def table(rows: list[list[int]], *, num_items: int) -> Array:
    """Users by items, 1 where liked; user 0 and item 0 are the unknown."""
    liked = np.zeros((len(rows) + 1, num_items + 1))
    for user, row in enumerate(rows, start=1):
        liked[user, row] = 1
    return liked


def dense_step(liked: Array, other: Array, settings: ALS) -> Array:
    """One side of the factors from the other, a row at a time: liked (R, C), other (C, D) -> (R, D)."""
    gram = other.T @ other
    answer = np.zeros((len(liked), other.shape[1]))
    for row in np.flatnonzero(liked.sum(1)):
        mine = other[liked[row] > 0]
        size = len(mine) + settings.unobserved_weight * (liked.shape[1] - 1)
        system = mine.T @ mine + settings.unobserved_weight * gram
        system += settings.regularization * size**settings.frequency_scaling * np.eye(other.shape[1])
        answer[row] = np.linalg.solve(system, mine.sum(0))
    return answer


def objective(liked: Array, users: Array, items: Array, settings: ALS) -> float:
    scores = users @ items.T
    loss = (liked * (1 - scores) ** 2).sum() + settings.unobserved_weight * (scores[1:, 1:] ** 2).sum()
    for factors, likes, others in ((users, liked.sum(1), len(items) - 1), (items, liked.sum(0), len(users) - 1)):
        strength = settings.regularization * (likes + settings.unobserved_weight * others) ** settings.frequency_scaling
        loss += (strength * (factors**2).sum(1))[1:].sum()
    return float(loss)


@pytest.mark.parametrize("frequency_scaling", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("unobserved_weight", [0.0, 0.3])
def test_a_round_solves_the_normal_equations(frequency_scaling: float, unobserved_weight: float) -> None:
    rows = random_rows()
    settings = ALS(
        embedding_dim=6,
        iterations=1,
        regularization=0.05,
        frequency_scaling=frequency_scaling,
        unobserved_weight=unobserved_weight,
    )
    network = built(settings, num_users=40, num_items=25)
    liked, first = table(rows, num_items=25), network.item_factors.double().numpy()
    users = dense_step(liked, first, settings)
    items = dense_step(liked.T, users, settings)
    network.solve(events(rows, num_items=25))
    np.testing.assert_allclose(network.embed_items(torch.arange(26)).numpy(), items, atol=1e-4, rtol=1e-3)


def test_the_objective_falls_in_every_round() -> None:
    rows = random_rows()
    settings = ALS(embedding_dim=6, iterations=1, regularization=0.01)
    network = built(settings, num_users=40, num_items=25)
    liked, losses = table(rows, num_items=25), []
    for _ in range(8):
        network.solve(events(rows, num_items=25))
        items = network.item_factors.double().numpy()
        losses.append(objective(liked, dense_step(liked, items, settings), items, settings))
    assert all(later < earlier for earlier, later in itertools.pairwise(losses)), losses


def test_iterations_are_rounds_one_after_the_other() -> None:
    rows = events(random_rows(), num_items=25)
    once = built(ALS(embedding_dim=4, iterations=1), num_users=40, num_items=25)
    thrice = built(ALS(embedding_dim=4, iterations=3), num_users=40, num_items=25)
    thrice.solve(rows)
    for _ in range(3):
        once.solve(rows)
    assert once.item_factors.equal(thrice.item_factors)


def test_folding_in_a_training_users_history_gives_the_users_factors() -> None:
    rows = random_rows()
    settings = ALS(embedding_dim=6, iterations=4)
    network = built(settings, num_users=40, num_items=25)
    network.solve(events(rows, num_items=25))
    expected = dense_step(table(rows, num_items=25), network.item_factors.double().numpy(), settings)[1:]
    np.testing.assert_allclose(network.embed_requests(asked(rows)).numpy(), expected, atol=1e-4, rtol=1e-3)


def test_a_users_vector_does_not_depend_on_the_batch_or_on_padding_order_and_repeats() -> None:
    rows = random_rows()
    network = built(ALS(embedding_dim=6), num_users=40, num_items=25)
    network.solve(events(rows, num_items=25))
    together = network.embed_requests(asked(rows))
    for row in (0, 7, 23):
        history = rows[row]
        for same in (history, history[::-1], [*history, 0, 0, 0], history + history, [0, *history]):
            assert torch.allclose(network.embed_requests(asked([same]))[0], together[row], atol=1e-5)


def test_a_repeated_like_counts_once() -> None:
    rows = random_rows()
    once, twice = (built(ALS(embedding_dim=4), num_users=40, num_items=25) for _ in range(2))
    once.solve(events(rows, num_items=25))
    twice.solve(events([row + row for row in rows], num_items=25))
    assert twice.item_factors.equal(once.item_factors)


def test_only_liked_events_count() -> None:
    network = built(ALS(embedding_dim=2), num_users=2, num_items=3)
    network.solve(events([[1, 2, 3], [1, 2]], num_items=3, liked=[True, True, False, True, True]))
    assert network.item_factors[3].eq(0).all()
    assert network.item_factors[1].ne(0).any()


def test_histories_longer_than_a_batch_may_hold_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows()
    whole, parts = (built(ALS(embedding_dim=6, iterations=3), num_users=40, num_items=25) for _ in range(2))
    whole.solve(events(rows, num_items=25))
    monkeypatch.setattr("shortlist.models.als._FLOATS_AT_ONCE", 12)
    parts.solve(events(rows, num_items=25))
    assert torch.allclose(parts.item_factors, whole.item_factors, atol=1e-4)


def test_two_circles_of_taste_are_told_apart() -> None:
    """Odd users like items 1 to 5, even ones 6 to 10, each all but one: the missing one comes next."""
    rows = [
        [item for item in (range(1, 6) if user % 2 else range(6, 11)) if item % 5 != user % 5] for user in range(40)
    ]
    network = built(ALS(embedding_dim=4, regularization=0.003), num_users=40, num_items=10)
    network.solve(events(rows, num_items=10))
    scores = network.embed_requests(asked(rows)) @ network.embed_items(torch.arange(11)).T
    for user, row in enumerate(rows):
        unseen = scores[user].clone()
        unseen[[0, *row]] = -torch.inf
        left_out = [item for item in (range(1, 6) if user % 2 else range(6, 11)) if item % 5 == user % 5]
        assert [int(unseen.argmax())] == left_out


def test_who_has_no_item_that_anybody_liked_cannot_be_served() -> None:
    network = built(ALS(embedding_dim=3), num_users=2, num_items=4)
    network.solve(events([[1, 2], [2, 3]], num_items=4))
    requests = asked([[1, 4], [4], []])
    assert network.can_serve(requests).tolist() == [True, False, False]
    assert network.embed_requests(requests)[1:].eq(0).all()
    unknown = Requests(user=torch.tensor([1, 2]))
    assert network.can_serve(unknown).tolist() == [False, False]
    assert network.embed_requests(unknown).shape == (2, 3)


def test_a_saved_state_folds_in_the_same() -> None:
    rows = random_rows()
    network = built(ALS(embedding_dim=6), num_users=40, num_items=25)
    network.solve(events(rows, num_items=25))
    copy = ALS(embedding_dim=6).build(Catalogue(num_users=40, num_items=25))
    copy.load_state_dict(network.state_dict())
    assert copy.embed_requests(asked(rows)).equal(network.embed_requests(asked(rows)))


def test_the_same_seed_gives_the_same_factors() -> None:
    first, second = (built(ALS(embedding_dim=6), num_users=40, num_items=25) for _ in range(2))
    for network in (first, second):
        network.solve(events(random_rows(), num_items=25))
    assert first.item_factors.equal(second.item_factors)


def test_equations_that_float32_cannot_solve_are_solved_in_float64() -> None:
    rows = [[1, 2], [2, 3], [1, 3]]
    settings = ALS(embedding_dim=8, iterations=1, regularization=1e-7, unobserved_weight=0.0, init_stddev=30.0)
    network = built(settings, num_users=3, num_items=3)
    first = network.item_factors.double().numpy()
    expected = dense_step(table(rows, num_items=3), first, settings)[1:]
    np.testing.assert_allclose(network.embed_requests(asked(rows)).numpy(), expected, atol=1e-4)


def test_singular_equations_are_an_error_that_says_what_to_raise() -> None:
    network = built(ALS(embedding_dim=8, regularization=1e-300, unobserved_weight=0.0), num_users=2, num_items=3)
    with pytest.raises(TrainingError, match=r"equations of \d+ of \d+ rows are singular. Raise regularization"):
        network.solve(events([[1], [2, 3]], num_items=3))


def test_no_positive_events_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"no positive events.*schema\.positive"):
        built(ALS(), num_users=1, num_items=2).solve(events([[1, 2]], num_items=2, liked=[False, False]))


def test_it_is_solved_not_trained_and_says_how_much_history_it_wants() -> None:
    assert ALS().sampling is None
    assert ALS(history=20).history == 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"history": 0}, "history is 0"),
        ({"regularization": 0.0}, "regularization is 0.0"),
        ({"init_stddev": 0.0}, "init_stddev is 0.0"),
        ({"unobserved_weight": -0.1}, "unobserved_weight is -0.1"),
        ({"frequency_scaling": float("nan")}, "frequency_scaling is nan"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ALS(**wrong)
