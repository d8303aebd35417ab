from __future__ import annotations

import pytest
import torch
from torch import nn

from shortlist.errors import SettingsError
from shortlist.training.optimizer import build_optimizer, learning_rate
from shortlist.training.settings import Training


def _rates(settings: Training, total: int) -> list[float]:
    return [learning_rate(step, settings=settings, total_steps=total) for step in range(total)]


def test_a_constant_schedule_stays() -> None:
    assert _rates(Training(learning_rate=0.5), 4) == [0.5, 0.5, 0.5, 0.5]


def test_a_warm_up_rises_in_equal_parts_to_the_rate() -> None:
    assert _rates(Training(learning_rate=1.0, warmup_steps=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_linear_schedule_falls_in_equal_parts_towards_0() -> None:
    assert _rates(Training(learning_rate=1.0, schedule="linear"), 4) == [1.0, 0.75, 0.5, 0.25]


def test_a_cosine_schedule_is_at_half_in_the_middle() -> None:
    rates = _rates(Training(learning_rate=2.0, schedule="cosine", warmup_steps=2), 6)
    assert rates == pytest.approx([1.0, 2.0, 2.0, 1.7071068, 1.0, 0.2928932])


def test_a_warm_up_longer_than_the_run_only_rises() -> None:
    assert _rates(Training(learning_rate=1.0, warmup_steps=10, schedule="linear"), 3) == [0.1, 0.2, 0.3]


def test_an_open_learning_rate_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"training\.learning_rate is not set"):
        build_optimizer([nn.Parameter(torch.ones(1))], settings=Training())
    with pytest.raises(SettingsError, match=r"training\.learning_rate is not set"):
        learning_rate(0, settings=Training(), total_steps=1)


def _weight_after_a_step(settings: Training) -> float:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer([weight, nn.Parameter(torch.ones(1), requires_grad=False)], settings=settings)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    return weight.item()


def test_sgd_subtracts_the_gradient_with_its_l2_term() -> None:
    # 2 - 0.1 * (3 + 0.5 * 2)
    assert _weight_after_a_step(Training(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)) == pytest.approx(1.6)


def test_first_steps_of_adam_and_adagrad_are_as_long_as_the_learning_rate() -> None:
    assert _weight_after_a_step(Training(optimizer="adam", learning_rate=0.1)) == pytest.approx(1.9)
    assert _weight_after_a_step(Training(optimizer="adagrad", learning_rate=0.1)) == pytest.approx(1.9)


def test_a_parameter_may_have_a_decay_of_its_own() -> None:
    """Two weights without a slope: only the decay moves them, by the rate each."""
    weights = [nn.Parameter(torch.tensor([2.0])) for _ in range(2)]
    training = Training(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(weights, settings=training, decays={weights[1]: 1.0})
    for weight in weights:
        weight.grad = torch.zeros(1)
    optimizer.step()
    assert [weight.item() for weight in weights] == pytest.approx([1.9, 1.8])


@pytest.mark.parametrize("sparse", [False, True])
def test_rowwise_adagrad_has_a_sum_for_each_row_of_a_table(sparse: bool) -> None:
    """A row met twice has the gradient 2 + 1 and 0: the mean of the squares is 4.5, and the step 3 / sqrt(4.5)."""
    table, other = nn.Embedding(3, 2, sparse=sparse), nn.Parameter(torch.zeros(2))
    nn.init.zeros_(table.weight)
    training = Training(optimizer="rowwise_adagrad", learning_rate=1.0)
    optimizer = build_optimizer([table.weight, other], settings=training, tables=[table.weight])
    found = table(torch.tensor([1, 1, 2]))
    (found * torch.tensor([[2.0, 0], [1, 0], [0, 4]])).sum().backward()
    other.grad = torch.tensor([3.0, -5.0])
    optimizer.step()
    torch.testing.assert_close(table.weight.detach(), torch.tensor([[0, 0], [-(2**0.5), 0], [0, -(2**0.5)]]))
    torch.testing.assert_close(other.detach(), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_torchs_and_goes_on_from_its_state(decay: float) -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, 3), torch.randn(3), torch.randn(2)]
    mine, theirs = ([nn.Parameter(weight.clone()) for weight in start] for _ in range(2))
    settings = Training(optimizer="adam", learning_rate=0.1, weight_decay=decay)
    ours = build_optimizer(mine, settings=settings)
    torchs = torch.optim.Adam(theirs, lr=0.1, betas=settings.betas, weight_decay=decay, fused=True)
    for turn in range(6):
        if turn == 3:  # each goes on where the other stands
            states = ours.state_dict(), torchs.state_dict()
            ours.load_state_dict(states[1])
            torchs.load_state_dict(states[0])
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn_like(one) if len(one) != 2 or turn else None  # the last learns later than the others
            other.grad = None if one.grad is None else one.grad.clone()
        ours.step()
        torchs.step()
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(one, other)
