"""What sequence models make of a history: the last known items; and of a batch: the states that predict something."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from shortlist.contracts import Catalogue, Examples, ModelSettings, Requests
from shortlist.errors import SettingsError
from shortlist.models import GRU4Rec, SASRec, sequences
from shortlist.models.dropout import Dropout
from shortlist.models.sequences import Predictions, last_state, recent

MODELS: dict[str, ModelSettings] = {
    "SASRec": SASRec(embedding_dim=8, history=3),
    "SASRec ligr": SASRec(embedding_dim=8, history=3, block="ligr"),
    "GRU4Rec": GRU4Rec(hidden=(8,), history=3),
}


def _requests(rows: list[list[int]]) -> Requests:
    width = max(map(len, rows))
    history = torch.tensor([row + [0] * (width - len(row)) for row in rows]).reshape(len(rows), width)
    return Requests(torch.zeros(len(rows), dtype=torch.int64), history, torch.tensor([len(row) for row in rows]))


def test_the_last_known_items_are_kept_in_order() -> None:
    history, length = recent(_requests([[1, 2, 3, 4], [0, 5, 0, 6], [7], [0, 0], [8, 8, 8]]), 3)
    assert history.tolist() == [[2, 3, 4], [5, 6, 0], [7, 0, 0], [0, 0, 0], [8, 8, 8]]
    assert length.tolist() == [3, 2, 1, 0, 3]


def test_nothing_is_gathered_from_an_empty_history() -> None:
    history, length = recent(Requests(history=torch.zeros(2, 0, dtype=torch.int64), length=torch.zeros(2).long()), 3)
    assert history.shape == (2, 0)
    assert last_state(torch.zeros(2, 0, 4), length).tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("name", MODELS)
def test_a_history_longer_than_the_window_unknown_items_and_repeats(name: str) -> None:
    torch.manual_seed(0)
    network = MODELS[name].build(Catalogue(num_users=0, num_items=9)).eval()
    asked = [[1, 2, 3], [4, 5, 1, 2, 3], [0, 1, 0, 2, 3, 0], [3, 2, 1], [3, 3, 3], [3], [0, 0], []]
    vectors = network.embed_requests(_requests(asked))
    torch.testing.assert_close(vectors[1], vectors[0])  # what lies before the window
    torch.testing.assert_close(vectors[2], vectors[0])  # as if the unknown items had not been
    assert not torch.allclose(vectors[3], vectors[0])  # order counts
    assert not torch.allclose(vectors[4], vectors[5])  # and so do repeats
    assert network.can_serve(_requests(asked)).tolist() == [True] * 6 + [False] * 2
    torch.testing.assert_close(vectors[6], vectors[7])
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("block", ["authors", "pre_ln", "ligr"])
@pytest.mark.parametrize("rows", [[[3, 1, 2]], [[1, 2, 3], [4, 5, 6]], [[1, 2], [3], [4, 5, 6], []]])
def test_the_last_step_alone_is_that_of_all_steps(
    block: Literal["authors"], num_heads: int, rows: list[list[int]]
) -> None:
    """Without its keys and values, and without masks where nothing is padded."""
    torch.manual_seed(0)
    settings = SASRec(embedding_dim=8, history=5, num_blocks=2, num_heads=num_heads, block=block)
    network = settings.build(Catalogue(num_users=0, num_items=9)).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)  # biases, too
    asked = _requests(rows)
    states = network(asked.history, asked.length)
    torch.testing.assert_close(network.embed_requests(asked), last_state(states, asked.length))


@pytest.mark.parametrize("name", MODELS)
def test_no_requests_get_no_vectors(name: str) -> None:
    network = MODELS[name].build(Catalogue(num_users=0, num_items=9)).eval()
    nobody = Requests(torch.zeros(0).long(), torch.zeros(0, 3).long(), torch.zeros(0).long())
    assert len(network.embed_requests(nobody)) == 0


@pytest.mark.parametrize("name", MODELS)
def test_few_at_a_time_get_the_same_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = MODELS[name].build(Catalogue(num_users=0, num_items=9)).eval()
    requests, sizes = _requests([[1, 2, 3], [], [4], [5, 6], [7, 8, 9], [1], [2, 3]]), list[int]()
    monkeypatch.setattr(sequences, "STEPS_AT_ONCE", 6)
    with torch.no_grad():
        monkeypatch.setattr(network, "rows", lambda some, own=network.rows: (sizes.append(len(some)), own(some))[1])
        found = network.embed_requests(requests)  # type: ignore[operator]
    assert sizes == [2, 2, 2, 1]
    assert torch.allclose(found, network.embed_requests(requests), atol=1e-6)  # type: ignore[operator]
    assert sizes[4:] == [7]  # what is differentiated stays in one piece


def test_the_step_that_predicts_is_the_targets_own_or_the_one_named() -> None:
    hidden = torch.arange(12.0).view(2, 3, 2)
    items = torch.tensor([[4, 0, 5], [0, 6, 0]])
    found = Predictions.of(Examples(Requests(), items, weights=torch.tensor([[1.0, 2, 3], [4, 5, 6]])))
    assert found.items.tolist() == [4, 5, 6]
    assert found.queries(hidden).tolist() == [[0, 1], [4, 5], [8, 9]]
    assert found.weights is not None
    assert found.weights.tolist() == [1, 3, 5]
    named = Predictions.of(Examples(Requests(), items, step=torch.tensor([[0, 0, 1], [0, 0, 0]])))
    assert named.queries(hidden).tolist() == [[0, 1], [2, 3], [6, 7]]


def test_the_targets_of_ones_own_sequence_are_told_apart() -> None:
    """They are sure to be in the batch's sample, so they must not stand in it as if they had been drawn."""
    items, column = torch.tensor([[4, 5, 0], [0, 6, 4]]), torch.tensor([[0, 1, 0], [0, 2, 0]])
    found = Predictions.of(Examples(Requests(), items, target_column=column))
    assert found.columns is not None
    assert found.own_columns is not None
    assert found.columns.tolist() == [0, 1, 2, 0]
    assert [set(row) for row in found.own_columns.tolist()] == [{0, 1}, {0, 1}, {0, 2}, {0, 2}]


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(100_001, requires_grad=True)
    layer = Dropout(probability)
    dropped = layer(values)
    kept = dropped != 0
    assert 1 - kept.float().mean().item() == pytest.approx(probability, abs=0.006)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    for byte in range(8):  # of the words that decide, every byte is as random
        assert 1 - kept[byte::8].float().mean().item() == pytest.approx(probability, abs=0.02)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())
    assert layer.eval()(values) is values


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SASRec(embedding_dim=10, num_heads=3), r"embedding_dim is 10 and num_heads 3"),
        (lambda: SASRec(block="author"), r"SASRec\.block is 'author'.*Did you mean 'authors'"),  # type: ignore[arg-type]
        (lambda: SASRec(dropout=1.0), r"SASRec\.dropout is 1\.0"),
        (lambda: SASRec(temperature=0.0), r"SASRec\.temperature is 0\.0"),
        (lambda: SASRec(windows="lsat"), r"SASRec\.windows is 'lsat'.*Did you mean 'last'"),  # type: ignore[arg-type]
        (lambda: SASRec(calibration=75), r"SASRec\.calibration is 75"),
        (lambda: GRU4Rec(hidden=100), r"GRU4Rec\.hidden is 100\. It is a tuple"),  # type: ignore[arg-type]
        (lambda: SASRec(history=0), r"SASRec\.history is 0"),
        (lambda: GRU4Rec(hidden=()), r"GRU4Rec\.hidden is \(\)"),
        (lambda: GRU4Rec(loss="bprmax"), r"GRU4Rec\.loss is 'bprmax'.*Did you mean 'bpr_max'"),  # type: ignore[arg-type]
        (lambda: GRU4Rec(logq=-1), r"GRU4Rec\.logq is -1"),
    ],
)
def test_settings_out_of_range_are_named(make: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()  # type: ignore[operator]


def test_the_gru_keeps_each_gate_glorot_uniform() -> None:
    torch.manual_seed(0)
    network = GRU4Rec(hidden=(64,)).build(Catalogue(num_users=0, num_items=500))
    (layer,) = [module for module in network.modules() if isinstance(module, nn.GRU)]
    for gate in layer.weight_hh_l0.chunk(3):
        assert gate.abs().max().item() == pytest.approx((6 / 128) ** 0.5, rel=0.01)
