import torch

from shortlist.contracts import Filter
from shortlist.evaluation.protocol import reachable, target_keys


def test_a_key_depends_on_the_set_of_targets_alone() -> None:
    keys = target_keys(torch.tensor([[3, 7, 0], [7, 0, 3], [3, 8, 0], [10, 0, 0]]))
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3
    assert target_keys(torch.tensor([[3, 7]]))[0] == keys[0]


def test_keys_of_all_pairs_of_a_small_catalogue_differ() -> None:
    pairs = torch.combinations(torch.arange(1, 400))
    assert len(target_keys(pairs).unique()) == len(pairs)


def test_unreachable_targets_are_found_whatever_the_order_and_padding() -> None:
    targets = torch.tensor([[9, 2, 0], [4, 1, 6]])
    exclude = torch.tensor([[0, 2, 5, 0], [6, 6, 9, 1]])
    assert reachable(Filter(exclude=exclude), targets).tolist() == [[True, False, False], [True, False, False]]
    assert reachable(Filter(exclude=exclude[:, :0]), targets).tolist() == (targets != 0).tolist()
    assert reachable(Filter(), targets).tolist() == (targets != 0).tolist()
    both = Filter(allowed=torch.tensor([[9, 2], [4, 4]]), exclude=exclude)
    assert reachable(both, targets).tolist() == [[True, False, False], [True, False, False]]
