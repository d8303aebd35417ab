"""GRU4Rec equals its authors' releases on the same weights: states, scores, losses, optimiser steps, a whole training."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tests.golden.conftest import Golden
from torch import Tensor

from shortlist.contracts import Catalogue, Requests
from shortlist.models import losses
from shortlist.models.gru4rec import GRU4Rec, GRU4RecNetwork
from shortlist.training import Training
from shortlist.training.optimizer import build_optimizer

CELLS = ("gru4rec_constrained", "gru4rec_constrained2", "gru4rec_separate")


def _names(file: dict[str, Tensor]) -> dict[str, str]:
    """Our parameters and theirs; their items are numbered from 0, ours from 1."""
    names = {"items.embedding.weight": "Wy.weight", "item_bias.embedding.weight": "By.weight"}
    if "w/E.weight" in file:
        names["inputs.embedding.weight"] = "E.weight"
    for name in file:
        if name.startswith("w/G."):
            _, layer, kind = name.removeprefix("w/").split(".")
            names[f"layers.{layer}.{kind}_l0"] = f"G.{layer}.{kind}"
    return names


def _with_unknown(values: Tensor) -> Tensor:
    """A table (I, D) with the row of the unknown item in front."""
    return torch.cat((torch.zeros_like(values[:1]), values))


def _network(file: dict[str, Tensor]) -> GRU4RecNetwork:
    separate = file.get("w/E.weight")
    hidden = tuple(
        file[name].shape[1] for name in sorted(file) if name.startswith("w/G.") and name.endswith("weight_hh")
    )
    network = GRU4Rec(
        hidden=hidden,
        embedding="tied" if separate is None else "separate",
        embedding_dim=1 if separate is None else separate.shape[1],
    ).build(Catalogue(num_users=0, num_items=len(file["w/Wy.weight"])))
    assert isinstance(network, GRU4RecNetwork)
    network.load_state_dict(
        {
            ours: _with_unknown(file["w/" + theirs]) if "embedding" in ours else file["w/" + theirs]
            for ours, theirs in _names(file).items()
        }
    )
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):  # as theirs: momentum moves only the rows that a batch meets
            module.sparse, module.padding_idx = True, None
    return network.double()


def _step(network: GRU4RecNetwork, items: Tensor, states: list[Tensor]) -> list[Tensor]:
    """The hidden states (B, D) of each layer after one more item (B,), from those before it."""
    table = network.items if network.inputs is None else network.inputs
    value, after = table.lookup(items + 1)[:, None], []
    for layer, state in zip(network.layers, states, strict=True):
        value, _ = layer(value, state[None])
        after.append(value[:, 0])
    return after


def _compared(network: GRU4RecNetwork, state: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and candidates of the loss: the last state with a 1, and the items' vectors with their biases."""
    return torch.cat((state, torch.ones_like(state[:, :1])), dim=1), network.embed_items(items + 1)


@pytest.mark.parametrize("name", CELLS)
def test_scores_after_whole_sessions_equal_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network = _network(file).eval()
    scores = (
        network.embed_requests(Requests(history=file["in/sessions"] + 1)) @ network.embed_items(torch.arange(1, 12)).T
    )
    torch.testing.assert_close(scores, file["out64/session_final_scores"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_every_step_of_a_session_equals_the_authors(name: str, golden: Golden) -> None:
    """Theirs steps sessions side by side and clears the state where a new one begins."""
    file = golden(name)
    network = _network(file).eval()
    items, resets = file["in/traj_X"] + 1, file["in/traj_reset_before_step"]
    wanted = file["out64/traj_scores_all_items"]
    for lane in range(items.shape[1]):
        begins = [0, *resets[:, lane].nonzero().flatten().tolist(), len(items)]
        for first, stop in pairwise(begins):
            (hidden,) = network(items[first:stop, lane][None])
            queries = torch.cat((hidden, torch.ones_like(hidden[:, :1])), dim=1)
            scores = queries @ network.embed_items(torch.arange(1, 12)).T
            torch.testing.assert_close(scores, wanted[first:stop, lane], rtol=0, atol=1e-10)


@pytest.mark.parametrize("logq", ["0", "0.5", "1"])
def test_cross_entropy_with_logq_equals_the_authors(logq: str, golden: Golden) -> None:
    file = golden("gru4rec_constrained")
    scores = file["out64/step_scores"].clone().requires_grad_()
    value = losses.sampled_softmax(
        scores, torch.eye(scores.shape[1], dtype=torch.float64), torch.arange(len(scores)),
        log_prob=float(logq) * _authors_log_count(file, len(scores)),
    ) * len(scores)  # fmt: skip
    torch.testing.assert_close(value, file[f"out64/xe_logq{logq}_sum"].double(), rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(value, scores)
    torch.testing.assert_close(gradient, file[f"out64/xe_logq{logq}_grad_scores"], rtol=0, atol=1e-10)


def _authors_log_count(file: dict[str, Tensor], batch: int) -> Tensor:
    """log(P0) of the batch's targets and alpha * log(P0) of the extra samples (N,), as their release corrects."""
    counts = file["in/P0_counts"].double()[file["in/step_Y"]].log()
    counts[batch:] *= file["in/sample_alpha"]
    return counts


@pytest.mark.parametrize("elu", ["0", "0.5", "1"])
@pytest.mark.parametrize("regularization", ["0", "1", "1.95"])
def test_bpr_max_equals_the_authors(elu: str, regularization: str, golden: Golden) -> None:
    file = golden("gru4rec_constrained")
    scores = file["out64/step_scores"].clone().requires_grad_()
    rows = losses.bpr_max(scores, torch.arange(len(scores)), regularization=float(regularization), elu=float(elu))
    name = f"out64/bprmax_elu{elu}_bpreg{regularization}"
    torch.testing.assert_close(rows.sum(), file[f"{name}_sum"].double(), rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(rows.sum(), scores)
    torch.testing.assert_close(gradient, file[f"{name}_grad_scores"], rtol=0, atol=1e-10)


def test_top1_max_and_bpr_max_equal_the_first_release(golden: Golden) -> None:
    file = golden("losses_gru4rec_theano")
    own = torch.arange(len(file["in/scores"]))
    for name, rows in {
        "top1_max": lambda scores: losses.top1_max(scores, own),
        "top1_max_elu0.5": lambda scores: losses.top1_max(scores, own, elu=0.5),
        "bpr_max_bpreg1.95": lambda scores: losses.bpr_max(scores, own, regularization=1.95),
        "bpr_max_elu0.5_bpreg1.95": lambda scores: losses.bpr_max(scores, own, regularization=1.95, elu=0.5),
    }.items():
        scores = file["in/scores"].clone().requires_grad_()
        value = rows(scores).sum()
        torch.testing.assert_close(value, file[f"out64/{name}_sum"].double(), rtol=0, atol=1e-9, msg=name)
        (gradient,) = torch.autograd.grad(value, scores)
        torch.testing.assert_close(gradient, file[f"out64/{name}_grad"], rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("momentum", ["0", "0.3"])
def test_two_steps_of_the_optimiser_equal_the_authors(name: str, momentum: str, golden: Golden) -> None:
    file = golden(name)
    network = _network(file)
    training = Training(optimizer="adagrad", learning_rate=0.1, momentum=float(momentum))
    optimizer = build_optimizer(network.parameters(), settings=training)
    states = [file[f"in/step_H{layer}"].double() for layer in range(len(network.layers))]
    for number, prefix in enumerate(("step", "step2"), start=1):
        items, sample = file[f"in/{prefix}_X"], file[f"in/{prefix}_Y"]
        states = _step(network, items, [state.detach() for state in states])
        counts = _authors_log_count({**file, "in/step_Y": sample}, len(items))
        value = losses.sampled_softmax(
            *_compared(network, states[-1], sample), torch.arange(len(items)), log_prob=counts
        )
        torch.testing.assert_close(
            value.detach(), file[f"out64/adagrad_mom{momentum}_step{number}_loss"].double(), rtol=0, atol=1e-10
        )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        _compare_weights(network, file, f"out64/adagrad_mom{momentum}_step{number}/", atol=1e-9)


def _compare_weights(network: GRU4RecNetwork, file: dict[str, Tensor], prefix: str, *, atol: float) -> None:
    parameters = dict(network.named_parameters())
    for ours, theirs in _names(file).items():
        mine = parameters[ours].detach()
        mine = mine[1:] if "embedding" in ours else mine
        torch.testing.assert_close(mine, file[prefix + theirs].to(mine.dtype), rtol=0, atol=atol, msg=theirs)


@pytest.mark.parametrize(
    ("name", "momentum", "logq"),
    [("gru4rec_fit_xe", 0.3, True), ("gru4rec_fit_bprmax", 0.0, False), ("gru4rec_fit_xe_separate", 0.0, False)],
)
def test_a_whole_training_of_theirs_ends_with_the_same_weights(
    name: str, momentum: float, logq: bool, golden: Golden
) -> None:
    """Their three epochs of session-parallel steps, by our parts: cell, loss, optimiser."""
    file = golden(name)
    network = _network(file).float()
    optimizer = build_optimizer(
        network.parameters(), settings=Training(optimizer="adagrad", learning_rate=0.1, momentum=momentum)
    )
    inputs, targets = file["out/batch_in_idx"].long(), file["out/batch_out_idx"].long()
    counts = torch.bincount(_positions(file), minlength=len(file["in/itemidmap_index"])).float()
    size, taken = inputs.shape[1], 0
    hooks = {int(batch): row for row, batch in enumerate(file["out/hook_at_batch"])}
    for _ in range(3):
        state = torch.zeros(size, network.items.width)
        for number, (given, wanted) in enumerate(zip(inputs, targets, strict=True)):
            if number in hooks:  # sessions that ended leave a fresh state; lanes without a session go
                finished, valid = (file[f"out/hook_{kind}_mask"][hooks[number]] for kind in ("finished", "valid"))
                state = state.masked_fill((finished[: len(state)] == 1)[:, None], 0)
                state = state[valid[: len(state)] == 1]
            given, wanted = given[given >= 0], wanted[wanted >= 0]
            (state,) = _step(network, given, [state.detach()])
            queries, candidates = _compared(network, state, wanted)
            own = torch.arange(len(wanted))
            if "xe" in name:
                log_prob = counts[wanted].log() if logq else None
                mean = losses.sampled_softmax(queries, candidates, own, log_prob=log_prob)
                value = mean * len(wanted) / size
            else:
                value = losses.bpr_max(queries @ candidates.T, own, regularization=1.95, elu=0.5).sum() / size
            assert value.item() == pytest.approx(float(file["out/step_losses_all_epochs"][taken]), abs=1e-4)
            taken += 1
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert taken == len(file["out/step_losses_all_epochs"])
    _compare_weights(network, file, "w_after/", atol=1e-3)


def _positions(file: dict[str, Tensor]) -> Tensor:
    """Their index of every event's item."""
    place = {int(item): index for index, item in enumerate(file["in/itemidmap_index"])}
    return torch.tensor([place[int(item)] for item in file["in/ItemId"]])
