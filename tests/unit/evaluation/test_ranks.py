import itertools

import pytest
import torch

from shortlist.contracts import Candidates
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation.ranks import distinct, found, given_candidates, is_ordered, ranks, ranks_of_scores

INF = float("inf")


def listed(items: list[list[int]], scores: list[list[float]]) -> Candidates:
    return Candidates(torch.tensor(items), torch.tensor(scores))


def test_a_target_has_the_place_it_stands_at() -> None:
    answer = listed([[4, 2, 9], [1, 3, 0]], [[3.0, 2.0, 1.0], [3.0, 2.0, -INF]])
    assert ranks(answer, torch.tensor([[9, 4], [3, 7]])).tolist() == [[2.0, 0.0], [1.0, INF]]


def test_padding_is_never_found_even_beside_empty_slots() -> None:
    answer = listed([[5, 0, 0]], [[1.0, -INF, -INF]])
    assert ranks(answer, torch.tensor([[0, 5, 0]])).tolist() == [[INF, 0.0, INF]]


def test_an_empty_answer_finds_nothing() -> None:
    answer = Candidates(torch.empty(2, 0, dtype=torch.int64), torch.empty(2, 0))
    assert ranks(answer, torch.tensor([[1], [2]])).tolist() == [[INF], [INF]]


def test_a_tied_target_has_the_mean_of_the_places_of_its_group() -> None:
    answer = listed([[1, 2, 3, 4, 5]], [[0.9, 0.5, 0.5, 0.5, 0.1]])
    for tied in (2, 3, 4):
        assert ranks(answer, torch.tensor([[tied]])).item() == 2.0
    assert ranks(answer, torch.tensor([[5]])).item() == 4.0


@pytest.mark.parametrize(("size", "relevant"), [(2, 1), (5, 2), (6, 3), (4, 4)])
def test_tied_targets_have_the_mean_places_over_all_orders_of_the_group(size: int, relevant: int) -> None:
    orders = list(itertools.combinations(range(size), relevant))  # places of the targets, ascending
    expected = torch.tensor(orders, dtype=torch.float64).mean(0)
    answer = listed([list(range(1, size + 1))], [[0.5] * size])
    got = ranks(answer, torch.arange(1, relevant + 1)[None])
    torch.testing.assert_close(got[0].sort().values, expected)


def test_a_repeated_item_counts_once_and_moves_nobody_down() -> None:
    answer = listed([[7, 7, 3, 7, 5]], [[5.0, 4.0, 3.0, 2.0, 1.0]])
    assert ranks(answer, torch.tensor([[7, 3, 5]])).tolist() == [[0.0, 1.0, 2.0]]


def test_a_repeated_target_counts_once() -> None:
    answer = listed([[7, 3]], [[2.0, 1.0]])
    assert ranks(answer, torch.tensor([[3, 7, 3]])).tolist() == [[1.0, 0.0, INF]]


def test_a_tie_that_a_cut_list_may_not_show_whole_counts_as_not_found() -> None:
    answer = listed([[1, 2, 3], [1, 2, 0]], [[0.9, 0.5, 0.5], [0.9, 0.5, -INF]])
    targets = torch.tensor([[1, 3], [1, 2]])
    assert ranks(answer, targets).tolist() == [[0.0, 1.5], [0.0, 1.0]]
    assert ranks(answer, targets, is_cut=True).tolist() == [[0.0, INF], [0.0, 1.0]]


def test_ranks_by_counting_equal_ranks_by_brute_force_on_random_ties() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (50, 12), generator=draw).float().sort(dim=1, descending=True).values
    items = torch.rand(50, 30, generator=draw).argsort(1)[:, :12] + 1
    target = torch.randint(1, 31, (50, 1), generator=draw)
    got = ranks(Candidates(items, scores), target)
    for row in range(50):
        place = (items[row] == target[row]).nonzero().ravel().tolist()
        expected = INF
        if place:
            own = scores[row, place[0]]
            expected = (scores[row] > own).sum().item() + ((scores[row] == own).sum().item() - 1) / 2
        assert got[row].item() == expected


@pytest.mark.parametrize("scores", [[[0.1, 0.9]], [[float("nan"), 0.1]], [[0.9, float("nan")]]])
def test_a_list_out_of_order_or_with_nan_is_refused(scores: list[list[float]]) -> None:
    answer = listed([[1, 2]], scores)
    assert not is_ordered(answer)
    with pytest.raises(DataError, match=r"NaN or rise.*best first"):
        ranks(answer, torch.tensor([[1]]))


def test_found_does_not_mind_the_order_of_a_list() -> None:
    assert found(torch.tensor([[9, 0, 4, 4]]), torch.tensor([[4, 0, 9, 5]])).tolist() == [[True, False, True, False]]
    assert found(torch.empty(1, 0, dtype=torch.int64), torch.tensor([[4]])).tolist() == [[False]]


def test_distinct_keeps_the_first_of_each_item_in_its_place() -> None:
    assert distinct(torch.tensor([[3, 0, 3, 1, 1, 2]])).tolist() == [[3, 0, 0, 1, 0, 2]]


def test_score_ranks_under_each_rule_for_ties() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.5, 0.5, 0.1]])
    column = torch.tensor([2])
    assert [
        ranks_of_scores(scores, column, ties=rule).item() for rule in ("mean", "optimistic", "pessimistic", "index")
    ] == [
        2.0,
        1.0,
        3.0,
        2.0,
    ]


def test_score_ranks_count_only_valid_columns() -> None:
    scores, valid = torch.tensor([[0.9, 0.8, 0.5]]), torch.tensor([[False, True, True]])
    assert ranks_of_scores(scores, torch.tensor([2]), valid=valid).item() == 1.0


def test_score_ranks_refuse_nan_and_unknown_rules() -> None:
    with pytest.raises(DataError, match="NaN"):
        ranks_of_scores(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))
    with pytest.raises(SettingsError, match=r"'best'.*mean, optimistic, pessimistic, index"):
        ranks_of_scores(torch.tensor([[1.0]]), torch.tensor([0]), ties="best")  # type: ignore[arg-type]


def test_constant_scores_put_the_target_in_the_middle_of_given_candidates() -> None:
    assert ranks_of_scores(torch.zeros(3, 100), torch.tensor([0, 50, 99])).tolist() == [49.5] * 3


def test_given_candidates_hold_the_target_once() -> None:
    allowed = given_candidates(torch.tensor([[3, 5, 8], [1, 2, 4]]), torch.tensor([[5], [6]])).allowed
    assert allowed is not None
    assert [sorted(set(row) - {0}) for row in allowed.tolist()] == [[3, 5, 8], [1, 2, 4, 6]]
    assert (allowed[0] == 5).sum() == 1
