import math

import pytest
import torch

from shortlist.errors import SettingsError
from shortlist.evaluation.catalogue import diversity, novelty, self_information, unit_vectors


def test_novelty_is_the_mean_number_of_bits_of_the_items() -> None:
    information = self_information(torch.tensor([0, 8, 4, 2, 2]))  # shares 1/2, 1/4, 1/8, 1/8
    assert novelty(torch.tensor([[1, 2], [3, 4], [1, 0]]), information).tolist() == [1.5, 3.0, 1.0]


def test_an_item_without_events_is_as_novel_as_one_with_a_single_event() -> None:
    information = self_information(torch.tensor([0, 1, 0, 3]))
    assert information[2] == information[1] == 2.0


def test_an_empty_list_has_no_novelty() -> None:
    assert math.isnan(novelty(torch.tensor([[0, 0]]), self_information(torch.tensor([0, 1, 1]))).item())


def test_novelty_without_any_event_is_refused() -> None:
    with pytest.raises(SettingsError, match="holds none"):
        self_information(torch.zeros(4, dtype=torch.int64))


def test_diversity_is_one_less_the_mean_cosine_of_all_pairs() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(9, 5, generator=draw)
    listed = [3, 8, 1, 6]
    cosines = [
        torch.nn.functional.cosine_similarity(vectors[a], vectors[b], dim=0).item()
        for i, a in enumerate(listed)
        for b in listed[:i]
    ]
    got = diversity(torch.tensor([[*listed, 0, 0]]), unit_vectors(vectors)).item()
    assert got == pytest.approx(1 - sum(cosines) / len(cosines), abs=1e-6)


def test_equal_items_are_not_diverse_and_a_zero_vector_is_unlike_all() -> None:
    vectors = unit_vectors(torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 0.0], [0.0, 0.0]]))
    assert diversity(torch.tensor([[1, 2], [1, 3]]), vectors).tolist() == pytest.approx([0.0, 1.0])


def test_a_single_item_has_no_diversity() -> None:
    assert math.isnan(diversity(torch.tensor([[1, 0]]), unit_vectors(torch.eye(3))).item())
