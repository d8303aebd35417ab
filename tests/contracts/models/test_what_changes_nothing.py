"""What must not change the score of any model: batch mates, padding, the order of candidates, and the future."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contracts.models.scoring import examples_of, fitted, in_float64, requests_of, scores_of
from tests.contracts.models.table import ALL, SEQUENTIAL, TRAINED

from shortlist.contracts import Candidates, Ranker, Trainable
from shortlist.data import Dataset
from shortlist.model import history_width, pair_scores
from shortlist.models import DLRM, CatBoost, CrossAttention, DeepFM, LightGBM, NeuMF

RANKERS = NeuMF | DeepFM | DLRM | CrossAttention | LightGBM | CatBoost


@pytest.mark.parametrize("name", ALL)
def test_batch_mates_change_nothing(name: str, dataset: Dataset) -> None:
    model = fitted(ALL[name], dataset)
    requests = requests_of(dataset, history_width(ALL[name]))
    together = scores_of(model, requests)
    alone = torch.cat([scores_of(model, requests.take(torch.tensor([row]))) for row in range(len(requests))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_nothing(name: str, dataset: Dataset) -> None:
    model = fitted(ALL[name], dataset)
    requests = requests_of(dataset, history_width(ALL[name]))
    if requests.history is None:
        assert history_width(ALL[name]) == 0  # nothing is padded
        return
    longer = replace(requests, history=torch.nn.functional.pad(requests.history, (0, 3)))
    torch.testing.assert_close(scores_of(model, requests), scores_of(model, longer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_the_order_of_candidates_changes_nothing(name: str, dataset: Dataset) -> None:
    model = fitted(TRAINED[name], dataset)
    requests = requests_of(dataset, history_width(TRAINED[name]))
    items = torch.arange(1, 11).expand(len(requests), -1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    in_order, shuffled = (pair_scores(model.network, requests, chosen) for chosen in (items, items[:, order]))
    torch.testing.assert_close(in_order[:, order], shuffled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, settings in TRAINED.items() if isinstance(settings, RANKERS)])
def test_a_ranker_with_evidence_ignores_order_and_empty_slots(name: str, dataset: Dataset) -> None:
    """In float64: weights as large as these make scores whose float32 rounding depends on the order."""
    torch.manual_seed(0)
    exact = in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue().with_evidence(2)).double()
    assert isinstance(network, Ranker)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    requests = requests_of(exact, history_width(TRAINED[name]))
    items = torch.arange(1, 9).expand(len(requests), -1)
    evidence = torch.stack((torch.randn(items.shape), torch.arange(8.0).expand(items.shape)), dim=2).double()
    full = Candidates(items, torch.zeros(items.shape), evidence)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = Candidates(items[:, order], torch.zeros(items.shape), evidence[:, order])
    padded = Candidates(*(torch.nn.functional.pad(part, (0, 2)) for part in (items, torch.zeros(items.shape))),
                        torch.nn.functional.pad(evidence, (0, 0, 0, 2), value=7.0))  # fmt: skip
    wanted = network.score(requests, full)
    torch.testing.assert_close(network.score(requests, shuffled), wanted[:, order])
    torch.testing.assert_close(network.score(requests, padded)[:, :8], wanted)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in SEQUENTIAL and "unordered" not in name])
def test_nothing_sees_the_future(name: str, dataset: Dataset) -> None:
    """What a user does later must not change the request that an earlier event is learnt from, nor its score."""
    events, settings = dataset.events, TRAINED[name]
    later = torch.arange(len(events)) >= (events.offsets[:-1] + events.lengths // 2)[events.rows()]
    other = torch.where(later, events.items % dataset.num_items + 1, events.items)
    changed = replace(dataset, events=replace(events, items=other))
    first, second = examples_of(settings, dataset), examples_of(settings, changed)
    if first.request is not None:  # one for all that a user does: it says but who asks
        assert first.requests.history is None
        assert first.requests.context is None
        return
    assert first.requests.time is not None
    assert events.times is not None
    early = torch.isin(first.requests.time, events.times[~later]).nonzero().squeeze(1)
    assert len(early) > 30
    assert torch.equal(first.items[early], second.items[early])
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue())
    scores = [pair_scores(network, examples.requests.take(early), first.items[early]) for examples in (first, second)]
    assert torch.equal(scores[0], scores[1])


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_no_step_of_a_sequence_sees_the_next_ones(name: str, dataset: Dataset) -> None:
    """What comes later in a sequence must not change what its early steps cost, nor their gradients."""
    settings = TRAINED[name]
    examples = examples_of(settings, dataset)
    history = examples.requests.history
    assert history is not None
    early = torch.arange(history.shape[1]) < 3
    changed = torch.where(early | (history == 0), history, history % dataset.num_items + 1)
    assert not torch.equal(history, changed)
    items = torch.where(early, examples.items, 0)
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue())
    assert isinstance(network, Trainable)
    found = []
    for seen in (history, changed):
        value = network.loss(replace(examples, items=items, requests=replace(examples.requests, history=seen)))
        found.append((value, *torch.autograd.grad(value, list(network.parameters()), materialize_grads=True)))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)
