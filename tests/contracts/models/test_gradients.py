"""Gradients of every model that is trained: they reach all of it, are right, and are of what is served."""

from __future__ import annotations

import pytest
import torch
from tests.contracts.models.scoring import examples_of, in_float64, requests_of
from tests.contracts.models.table import TRAINED
from torch import Tensor

from shortlist.contracts import Candidates, Ranker, Retriever, Trainable
from shortlist.data import Dataset
from shortlist.model import history_width

STEP = 1e-8  # of weights in float64: so small that no activation crosses its kink


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter(name: str, dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = TRAINED[name].build(dataset.catalogue())
    assert isinstance(network, Trainable)
    network.loss(examples_of(TRAINED[name], dataset)).backward()
    is_softmax = getattr(TRAINED[name], "loss", "") == "softmax"
    for parameter, values in network.named_parameters():
        assert values.grad is not None, parameter
        if is_softmax and parameter in ("prediction.bias", "output.bias", "top.2.bias"):
            continue  # it moves all candidates alike, which a softmax cannot tell
        assert values.grad.abs().sum() > 1e-9, parameter
        assert torch.isfinite(values.grad).all(), parameter


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_the_slope_of_the_loss(name: str, dataset: Dataset) -> None:
    """In float64, along a random direction of all weights at once."""
    torch.manual_seed(0)
    exact = in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue()).double().eval()
    assert isinstance(network, Trainable)
    examples = examples_of(TRAINED[name], exact)
    network.loss(examples).backward()
    weights = list(network.parameters())
    draw = torch.Generator().manual_seed(1)
    along = [torch.randn(each.shape, generator=draw, dtype=torch.float64) for each in weights]
    for each in network.modules():
        if isinstance(each, torch.nn.Embedding) and each.padding_idx is not None:
            place = next(number for number, weight in enumerate(weights) if weight is each.weight)
            along[place][each.padding_idx] = 0
    slope = sum(
        float((each.grad * step).sum()) for each, step in zip(weights, along, strict=True) if each.grad is not None
    )
    values = []
    with torch.no_grad():
        for move in (STEP, -2 * STEP):
            for each, step in zip(weights, along, strict=True):
                each += move * step
            values.append(float(network.loss(examples)))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * STEP), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_served_is_what_gradients_are_taken_of(name: str, dataset: Dataset) -> None:
    """Without gradients some things are computed another way."""
    torch.manual_seed(0)
    exact = in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue().with_evidence(2)).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    requests = requests_of(exact, history_width(TRAINED[name]))
    items = torch.arange(1, 9).repeat(len(requests), 1)

    def answer() -> Tensor:
        if isinstance(network, Ranker):
            evidence = torch.stack(
                (torch.arange(8.0).sin().expand(items.shape), torch.arange(8.0).expand(items.shape)), 2
            )
            return network.score(requests, Candidates(items, torch.zeros(items.shape), evidence.double()))
        assert isinstance(network, Retriever)
        return network.embed_requests(requests)

    with torch.inference_mode():
        served = answer()
    torch.testing.assert_close(served, answer())
