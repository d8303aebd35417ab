from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shortlist.contracts import Examples, Requests
from shortlist.errors import SettingsError, TrainingError
from shortlist.training import Training, train

Make = Callable[..., Any]


def _weights(network: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


def _scripted(
    values: list[float], name: str = "ndcg@10", seen: list[bytes] | None = None, network: nn.Module | None = None
) -> Make:
    """A validation that gives these values in turn and notes the weights it saw."""
    left: Iterator[float] = iter(values)

    def validate() -> dict[str, float]:
        if seen is not None and network is not None:
            assert not network.training
            assert not torch.is_grad_enabled()
            seen.append(_weights(network))
        return {name: next(left), "other": 0.5}

    return validate


def test_training_learns_the_rule(line: Make, batches: Make) -> None:
    network = line()
    log = train(network, batches(num_steps=50), settings=Training(epochs=10, learning_rate=0.05))
    assert log.epochs[-1].loss < 1e-3 < log.epochs[0].loss
    assert not network.training


def test_without_a_validation_all_epochs_run_and_are_reported(line: Make, batches: Make) -> None:
    log = train(line(), batches(), settings=Training(epochs=3, learning_rate=0.01, schedule="linear"))
    assert [record.epoch for record in log.epochs] == [1, 2, 3]
    assert [record.learning_rate for record in log.epochs] == pytest.approx([0.01 * 11 / 15, 0.01 * 6 / 15, 0.01 / 15])
    assert all(record.metrics == {} and record.seconds > 0 for record in log.epochs)
    assert log.epochs[0].examples_per_s == pytest.approx(5 * 32 / log.epochs[0].seconds)
    assert (log.best_epoch, log.best_metric, log.stopped) == (3, None, "epochs")
    assert log.seconds >= sum(record.seconds for record in log.epochs)


def test_the_reported_loss_is_the_mean_over_the_steps(line: Make, batches: Make) -> None:
    network, data = line(), batches(num_steps=3)
    with torch.no_grad():
        expected = sum(network.loss(data.get(0, step)).item() for step in range(3)) / 3
    log = train(network, data, settings=Training(epochs=1, learning_rate=1e-12, optimizer="sgd"))
    assert log.epochs[0].loss == pytest.approx(expected)


def test_early_stopping_restores_the_weights_of_the_best_epoch(line: Make, batches: Make) -> None:
    network, seen = line(), []
    validate = _scripted([0.1, 0.3, 0.2, 0.3, 0.25], seen=seen, network=network)
    log = train(network, batches(), settings=Training(epochs=20, learning_rate=0.01), validate=validate)
    assert (log.best_epoch, log.best_metric, log.stopped) == (2, 0.3, "patience")
    assert len(log.epochs) == len(set(seen)) == 5
    assert _weights(network) == seen[1]
    assert log.epochs[2].metrics == {"ndcg@10": 0.2, "other": 0.5}


def test_an_error_metric_is_best_where_it_is_lowest(line: Make, batches: Make) -> None:
    network, seen = line(), []
    validate = _scripted([0.9, 0.5, 0.7], name="rmse", seen=seen, network=network)
    log = train(network, batches(), settings=Training(epochs=3, learning_rate=0.01, metric="rmse"), validate=validate)
    assert (log.best_epoch, log.best_metric, log.stopped) == (2, 0.5, "epochs")
    assert _weights(network) == seen[1]


def test_patience_of_none_never_stops_early(line: Make, batches: Make) -> None:
    settings = Training(epochs=6, learning_rate=0.01, patience=None)
    log = train(line(), batches(), settings=settings, validate=_scripted([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]))
    assert (len(log.epochs), log.best_epoch, log.stopped) == (6, 1, "epochs")


def test_validation_every_few_epochs_always_includes_the_last(line: Make, batches: Make) -> None:
    settings = Training(epochs=5, learning_rate=0.01, validate_every=2)
    log = train(line(), batches(), settings=settings, validate=_scripted([0.1, 0.2, 0.3]))
    assert [bool(record.metrics) for record in log.epochs] == [False, True, False, True, True]
    assert log.best_epoch == 5


def test_patience_counts_epochs_and_ends_at_a_validation(line: Make, batches: Make) -> None:
    settings = Training(epochs=20, learning_rate=0.01, validate_every=2, patience=3)
    log = train(line(), batches(), settings=settings, validate=_scripted([0.3, 0.2, 0.1]))
    assert (len(log.epochs), log.best_epoch, log.stopped) == (6, 2, "patience")


def test_a_plateau_schedule_falls_to_a_tenth_after_each_validation_that_is_not_the_best(
    line: Make, batches: Make
) -> None:
    settings = Training(epochs=6, learning_rate=0.01, schedule="plateau", patience=None)
    log = train(line(), batches(), settings=settings, validate=_scripted([0.1, 0.3, 0.2, 0.4, 0.35, 0.36]))
    rates = [record.learning_rate for record in log.epochs]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001, 0.0001])


def _trained(line: Make, batches: Make, **settings: Any) -> bytes:
    network = line(dropout=0.5)
    train(network, batches(), settings=Training(epochs=2, learning_rate=0.01, **settings))
    return _weights(network)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(line: Make, batches: Make) -> None:
    first = _trained(line, batches, seed=1)
    torch.rand(17)
    assert _trained(line, batches, seed=1) == first
    assert _trained(line, batches, seed=2) != first


def test_validation_that_draws_random_numbers_changes_no_weight(line: Make, batches: Make) -> None:
    network, drawing = line(dropout=0.5), line(dropout=0.5)
    settings = Training(epochs=2, learning_rate=0.01)
    train(network, batches(), settings=settings, validate=lambda: {"ndcg@10": float(network.out.bias.norm() * 0)})
    train(drawing, batches(), settings=settings, validate=lambda: {"ndcg@10": float(torch.rand(3).sum() * 0)})
    assert _weights(network) == _weights(drawing)


class _Indexed(nn.Module):
    """Looks rows up by plain indexing, whose gradient is summed in any order unless torch is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 50 * 64).reshape(50, 64))

    def loss(self, examples: Examples) -> Tensor:
        return (self.table[examples.items] * examples.targets).sum().square()


class _Many:
    num_steps = 3

    def get(self, epoch: int, step: int) -> Examples:
        generator = torch.Generator().manual_seed(epoch * 10 + step)
        items = torch.randint(50, (5000, 1), generator=generator)
        return Examples(Requests(user=items[:, 0]), items, targets=torch.randn(5000, 1, 64, generator=generator))


def test_two_threads_repeat_themselves_even_where_gradients_are_summed_by_index() -> None:
    found = set()
    for _ in range(4):
        network = _Indexed()
        train(network, _Many(), settings=Training(epochs=1, learning_rate=0.01, threads=2))
        found.add(_weights(network))
    assert len(found) == 1


def test_weight_decay_and_clipping_reach_the_steps(line: Make, batches: Make) -> None:
    plain = _trained(line, batches, optimizer="sgd")
    assert _trained(line, batches, optimizer="sgd", weight_decay=0.1) != plain
    assert _trained(line, batches, optimizer="sgd", clip_norm=1e-3) != plain


def test_clipping_bounds_the_length_of_a_step(line: Make, batches: Make) -> None:
    network = line()
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    train(
        network, batches(num_steps=1), settings=Training(epochs=1, learning_rate=1.0, optimizer="sgd", clip_norm=0.01)
    )
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_bfloat16_computes_the_loss_in_autocast_and_keeps_float32_weights(line: Make, batches: Make) -> None:
    network, dtypes = line(), []
    network.out.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    train(network, batches(), settings=Training(epochs=1, learning_rate=0.01, precision="bfloat16"))
    assert set(dtypes) == {torch.bfloat16}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_frozen_weights_stay(line: Make, batches: Make) -> None:
    network = line()
    network.table.weight.requires_grad = False
    before = network.table.weight.clone()
    train(network, batches(), settings=Training(epochs=1, learning_rate=0.1))
    assert torch.equal(network.table.weight, before)


class _Explodes(nn.Module):
    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.factors = iter(factors)

    def loss(self, examples: Examples) -> Tensor:
        return (self.weight * next(self.factors)).sum()


def test_a_loss_that_is_not_finite_names_epoch_step_and_remedies(batches: Make, tmp_path: Any) -> None:
    network = _Explodes([1.0] * 7 + [float("nan")])
    settings = Training(epochs=3, learning_rate=0.25, checkpoint_every_s=0)
    with pytest.raises(TrainingError) as error:
        train(network, batches(), settings=settings, run_dir=tmp_path)
    for part in ("became nan at epoch 2, step 3", "learning_rate (now 0.25)", "clip_norm (now None"):
        assert part in str(error.value)
    assert network.weight.isfinite().all()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_weight_that_is_not_finite_is_found_after_the_last_step(batches: Make) -> None:
    network = _Explodes([1.0])
    network.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match="A weight is no longer finite after epoch 1"):
        train(network, batches(num_steps=1), settings=Training(epochs=1, learning_rate=0.1, optimizer="sgd"))


def test_a_validation_without_the_metric_names_those_it_has(line: Make, batches: Make) -> None:
    settings = Training(epochs=1, learning_rate=0.1, metric="recall@10")
    with pytest.raises(
        TrainingError, match=r"gives no 'recall@10'.*It gives: recal@10, other.*Did you mean 'recal@10'"
    ):
        train(line(), batches(), settings=settings, validate=_scripted([0.1], name="recal@10"))


def test_a_metric_that_is_not_a_number_stops_the_run(line: Make, batches: Make) -> None:
    with pytest.raises(TrainingError, match=r"after epoch 2 gives ndcg@10 = nan"):
        train(
            line(), batches(), settings=Training(epochs=5, learning_rate=0.1), validate=_scripted([0.1, float("nan")])
        )


def test_what_cannot_be_trained_is_refused(line: Make, batches: Make) -> None:
    settings = Training(learning_rate=0.1)
    with pytest.raises(TrainingError, match="Linear cannot be trained by gradient"):
        train(nn.Linear(1, 1), batches(), settings=settings)
    with pytest.raises(TrainingError, match="an epoch has 0 steps"):
        train(line(), batches(num_steps=0), settings=settings)
    with pytest.raises(SettingsError, match="learning_rate is not set"):
        train(line(), batches(), settings=Training())
    with pytest.raises(TrainingError, match=r"no run_dir"):
        train(line(), batches(), settings=Training(learning_rate=0.1, tensorboard=True))


def test_a_missing_device_is_refused(line: Make, batches: Make) -> None:
    with pytest.raises(TrainingError, match="but torch finds"):
        train(line(), batches(), settings=Training(learning_rate=0.1, device="cuda:99"))


def _torch_state() -> tuple[object, ...]:
    tiny = torch.full((1,), 1e-38) * 0.01
    return (
        torch.get_rng_state().numpy().tobytes(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        tiny.view(torch.int32).item() != 0,
        torch.is_grad_enabled(),
    )


def test_training_leaves_torch_as_it_was_also_after_an_error(line: Make, batches: Make) -> None:
    before, inside = _torch_state(), []
    others = 1 if torch.get_num_threads() > 1 else 2

    def validate() -> dict[str, float]:
        inside.extend(_torch_state())
        return {"wrong": 1.0}

    with pytest.raises(TrainingError):
        train(line(dropout=0.5), batches(), settings=Training(learning_rate=0.1, threads=others), validate=validate)
    assert _torch_state() == before
    assert inside[1:5] == [others, True, False, False]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("training")] == []


def test_training_works_inside_no_grad(line: Make, batches: Make) -> None:
    with torch.no_grad():
        log = train(line(), batches(), settings=Training(epochs=2, learning_rate=0.1))
    assert log.epochs[1].loss < log.epochs[0].loss
