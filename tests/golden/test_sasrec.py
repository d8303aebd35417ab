"""SASRec equals its authors' TensorFlow code, and gSASRec's release, on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.golden.conftest import Golden, to_right
from torch import Tensor

from shortlist.contracts import Catalogue, Examples, Requests
from shortlist.models import losses
from shortlist.models.sasrec import SASRec, SASRecNetwork

TF1 = ("sasrec_tf1_h1", "sasrec_tf1_h2")
# Our parameters in a block and the authors' variables. Their keys have a bias (dense_1/bias), which changes nothing.
BLOCK = {
    "attention_norm.weight": "ln/Variable_1",
    "attention_norm.bias": "ln/Variable",
    "attention.query.weight": "self_attention/dense/kernel",
    "attention.query.bias": "self_attention/dense/bias",
    "attention.key.weight": "self_attention/dense_1/kernel",
    "attention.value.weight": "self_attention/dense_2/kernel",
    "attention.value.bias": "self_attention/dense_2/bias",
    "feed_norm.weight": "ln_1/Variable_1",
    "feed_norm.bias": "ln_1/Variable",
    "inner.weight": "multihead_attention/conv1d/kernel",
    "inner.bias": "multihead_attention/conv1d/bias",
    "outer.weight": "multihead_attention/conv1d_1/kernel",
    "outer.bias": "multihead_attention/conv1d_1/bias",
}


def _names(num_blocks: int) -> dict[str, str]:
    names = {
        "items.embedding.weight": "SASRec/input_embeddings/lookup_table",
        "positions": "SASRec/dec_pos/lookup_table",
        "norm.weight": "SASRec/ln/Variable_1",
        "norm.bias": "SASRec/ln/Variable",
    }
    for block in range(num_blocks):
        names |= {f"blocks.{block}.{ours}": f"SASRec/num_blocks_{block}/{theirs}" for ours, theirs in BLOCK.items()}
    return names


def _ours(values: Tensor, name: str) -> Tensor:
    """Their variable in our orientation."""
    return values.reshape(values.shape[-2:]).T if name.endswith("kernel") else values


def _network(file: dict[str, Tensor], **settings: Any) -> SASRecNetwork:
    positions = file["w/SASRec/dec_pos/lookup_table"]
    num_blocks = len({name.split("/")[2] for name in file if name.startswith("w/SASRec/num_blocks_")})
    network = SASRec(
        embedding_dim=positions.shape[1],
        history=len(positions),
        num_blocks=num_blocks,
        num_heads=int(file["in/num_heads"]),
        dropout=0.0,
        **({"block": "authors", "loss": "bce", "negatives": 1} | settings),
    ).build(Catalogue(num_users=0, num_items=int(file["in/num_items"])))
    assert isinstance(network, SASRecNetwork)
    weights = {ours: _ours(file["w/" + theirs], theirs).clone() for ours, theirs in _names(num_blocks).items()}
    weights["items.embedding.weight"][0] = 0  # theirs is random there, and of no effect
    network.load_state_dict(weights)
    return network.double()


def _examples(file: dict[str, Tensor]) -> Examples:
    length = (file["in/seq"] > 0).sum(1)
    history, items, negatives = (to_right(file[f"in/{name}"].long(), length) for name in ("seq", "pos", "neg"))
    return Examples(Requests(history=history, length=length), items, negatives=negatives[:, :, None])


@pytest.mark.parametrize("name", TF1)
def test_hidden_states_equal_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network, examples = _network(file).eval(), _examples(file)
    assert examples.requests.history is not None
    assert examples.requests.length is not None
    inside = torch.arange(examples.items.shape[1]) < examples.requests.length[:, None]
    assert bool((examples.requests.length == 0).any())  # a row without history is among them
    for training in (False, True):  # two ways to compute attention
        hidden = network.train(training)(examples.requests.history, examples.requests.length)
        wanted = to_right(file["out64/seq"], examples.requests.length)
        torch.testing.assert_close(hidden[inside], wanted[inside], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TF1)
def test_scores_of_all_items_equal_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network, examples = _network(file).eval(), _examples(file)
    scores = network.embed_requests(examples.requests) @ network.embed_items(torch.arange(12)).T
    served = network.can_serve(examples.requests)
    torch.testing.assert_close(scores[served], file["out64/logits_all_positions"][served, -1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TF1)
def test_the_loss_and_its_gradients_equal_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network = _network(file).train()
    value = 2 * network.loss(_examples(file))  # theirs adds what a target and its negative cost, ours takes the mean
    value.backward()
    torch.testing.assert_close(value.detach(), file["out64/loss"].double(), rtol=0, atol=1e-10)
    parameters = dict(network.named_parameters())
    for ours, theirs in _names(len(network.blocks)).items():
        gradient = parameters[ours].grad
        assert gradient is not None
        wanted = _ours(file["grad/" + theirs], theirs).double()
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TF1)
def test_three_steps_of_adam_equal_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network = _network(file).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-8, fused=True)
    for step, wanted in enumerate(file["out/adam_losses"], start=1):
        optimizer.param_groups[0]["eps"] = 1e-8 / (1 - 0.98**step) ** 0.5  # where TensorFlow adds its epsilon
        optimizer.zero_grad()
        value = 2 * network.loss(_examples(file))
        torch.testing.assert_close(value.detach(), wanted.double(), rtol=0, atol=2e-5)
        value.backward()
        optimizer.step()
    parameters = dict(network.named_parameters())
    for ours, theirs in _names(len(network.blocks)).items():
        wanted = _ours(file["w_after_adam3/" + theirs], theirs).double()
        if ours.startswith("items."):
            wanted[0] = 0
        torch.testing.assert_close(parameters[ours].detach(), wanted, rtol=0, atol=3e-5)


def _gsasrec(file: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (M, D) of steps with a target, the items' vectors (I, D), and the targets (M,)."""
    tied = "w/output_embedding.weight" not in file
    output = file["w/item_embedding.weight"] if tied else file["w/output_embedding.weight"]
    num_items = int(file["in/num_items"])
    positives = file["in/positives"]
    wanted = positives[:, :-1] != num_items + 1
    return file["out64/seq"][wanted], output[1 : num_items + 1].double(), positives[:, 1:][wanted]


@pytest.mark.parametrize("name", ["gsasrec_tied", "gsasrec_untied"])
@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("calibration", ["0", "0.75", "1"])
def test_gbce_equals_the_authors(name: str, num: int, calibration: str, golden: Golden) -> None:
    file = golden(name)
    hidden, items, targets = _gsasrec(file)
    inside = file["in/positives"][:, :-1] != len(items) + 1
    negatives = file[f"in/negatives_k{num}"][:, 1:][inside]
    value = losses.gbce(hidden, items, targets - 1, negatives - 1, calibration=float(calibration))
    torch.testing.assert_close(value, file[f"out64/gbce_k{num}_t{calibration}"].double(), rtol=1e-8, atol=0)
    beta = losses.gbce_power(float(calibration), num_negatives=num, num_items=len(items))
    assert beta == pytest.approx(float(file[f"out/gbce_k{num}_t{calibration}_beta"]))
