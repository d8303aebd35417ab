import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests
from shortlist.errors import DataError
from shortlist.evaluation.depth import recall_by_size, sizes_up_to
from shortlist.evaluation.popularity import gini, popularity_bias
from shortlist.evaluation.projection import principal_plane
from shortlist.evaluation.reliability import reliability


def test_more_candidates_hold_more_of_what_was_held_out(batch: Callable[..., EvaluationBatch]) -> None:
    asked: list[int] = []

    def search(requests: Requests, k: int, /, *, filter: Filter) -> Candidates:
        asked.append(k)
        items = torch.arange(1, k + 1).expand(len(requests), -1)
        return Candidates(items, -items.float())

    batches = [batch([[3, 8], [1]]), batch([[9]])]
    assert recall_by_size(search, batches, (2, 4, 8), is_nested=True) == pytest.approx((1 / 3, 0.5, 2 / 3))
    assert asked == [8, 8]
    assert recall_by_size(search, batches, (2, 4, 8), is_nested=False) == pytest.approx((1 / 3, 0.5, 2 / 3))
    assert asked[2:] == [2, 4, 8, 2, 4, 8]


def test_sizes_hold_both_ends_and_what_serves() -> None:
    sizes = sizes_up_to(800, least=10, known=[200])
    assert (sizes[0], sizes[-1]) == (10, 800)
    assert 200 in sizes
    assert list(sizes) == sorted(set(sizes))
    assert sizes_up_to(5, least=5, known=[200]) == (5,)


def test_predictions_that_come_true_as_often_as_they_say_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(50_000) ** 2
    outcomes = rng.random(50_000) < probabilities
    honest = reliability(probabilities, outcomes, of="x")
    assert honest.error < 0.01
    inside = [low <= p <= high for p, low, high in zip(honest.predicted, honest.low, honest.high, strict=True)]
    assert sum(inside) >= 9
    boastful = reliability(np.sqrt(probabilities), outcomes, of="x")
    assert boastful.error == pytest.approx(boastful.mean_predicted - boastful.mean_observed, abs=1e-9)


def test_equal_predictions_are_one_group_and_others_than_probabilities_are_refused() -> None:
    curve = reliability([0.2] * 100, [1] * 30 + [0] * 70, of="x")
    assert (curve.predicted, curve.observed) == ((pytest.approx(0.2),), (0.3,))
    assert curve.low[0] < 0.3 < curve.high[0]
    with pytest.raises(DataError, match=r"run from -1 to 2"):
        reliability([-1, 2], [0, 1], of="x")
    with pytest.raises(DataError, match="1 for 2"):
        reliability([0.5, 0.5], [0], of="x")


def test_popularity_bias_sorts_items_by_their_training_events() -> None:
    training = torch.tensor([7, 1, 9, 5, 0])  # index 0 is padding
    bias = popularity_bias(
        shown=torch.tensor([3, 0, 8, 2, 0]), held_out=torch.tensor([0, 1, 1, 1, 1]), training=training, k=5, deciles=4
    )
    assert bias.shown == (0.8, 0.2, 0.0, 0.0)
    assert bias.held_out == (0.25,) * 4
    assert bias.training == pytest.approx((9 / 15, 5 / 15, 1 / 15, 0))
    assert (bias.coverage, bias.gini_held_out) == (0.5, pytest.approx(0))


@pytest.mark.parametrize(("counts", "expected"), [([0, 0], 0.0), ([1, 3], 0.25), ([0, 0, 0, 9], 0.75)])
def test_gini_of_known_counts(counts: list[int], expected: float) -> None:
    assert gini(torch.tensor(counts)) == pytest.approx(expected)


def test_the_plane_keeps_the_directions_of_largest_variance() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 5, generator=draw) * torch.tensor([0.1, 3.0, 0.1, 9.0, 0.1]) + 50
    points, share = principal_plane(vectors)
    assert share > 0.99
    assert torch.corrcoef(torch.stack((points[:, 0], vectors[:, 3])))[0, 1] > 0.99
    assert torch.corrcoef(torch.stack((points[:, 1], vectors[:, 1])))[0, 1] > 0.99
    assert principal_plane(torch.ones(4, 3))[1] == 1.0
    assert math.isfinite(float(principal_plane(torch.ones(1, 3))[0].sum()))
