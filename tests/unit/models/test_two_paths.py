"""The hand-written gradient of NeuMF's scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shortlist.models.layers import mlp
from shortlist.models.two_paths import two_path_scores


@pytest.mark.parametrize("num_items", [4, 40])  # fewer and more than there are pairs
@pytest.mark.parametrize(("factors", "widths"), [(4, (12, 6, 20, 3)), (3, (8, 18)), (0, (12, 6, 5))])
def test_scores_and_gradients_are_those_of_operations_one_by_one(
    factors: int, widths: tuple[int, ...], num_items: int
) -> None:
    torch.manual_seed(0)
    hidden, prediction = mlp(widths, last_activation=True).double(), nn.Linear(factors + widths[-1], 1).double()
    users, items = (torch.randn(num, factors + widths[0] // 2).double().requires_grad_() for num in (6, num_items))
    user, item = torch.randint(0, 6, (5,)), torch.randint(0, num_items, (5, 3))
    inputs = [users, items, *hidden.parameters(), *prediction.parameters()]

    def one_by_one() -> Tensor:
        mine, theirs = users[user][:, None].expand(-1, 3, -1), items[item]
        rows = hidden(torch.cat((mine[..., factors:], theirs[..., factors:]), dim=-1))
        found: Tensor = prediction(torch.cat((mine[..., :factors] * theirs[..., :factors], rows), dim=-1))
        return found.squeeze(-1)

    expected, found = one_by_one(), two_path_scores(users, items, user, item, hidden, prediction)
    torch.testing.assert_close(found, expected)
    slopes = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, inputs, slopes)
    wanted[0][0], wanted[1][0] = 0, 0  # nothing is learnt of the unknown
    torch.testing.assert_close(torch.autograd.grad(found, inputs, slopes), wanted)


def test_the_gradient_is_taken_once() -> None:
    users = torch.randn(2, 4, requires_grad=True)
    pairs = torch.zeros(1).long(), torch.zeros(1, 3).long()
    scores = two_path_scores(users, users, *pairs, mlp((4, 3), last_activation=True), nn.Linear(5, 1))
    scores.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="a second time"):
        scores.sum().backward()  # type: ignore[no-untyped-call]
