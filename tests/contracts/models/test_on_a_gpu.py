"""Every model that is trained can be on a GPU, and computes the same there."""

from __future__ import annotations

import pytest
import torch
from tests.contracts.models.scoring import examples_of, requests_of, scores_of
from tests.contracts.models.table import TRAINED

from shortlist.data import Dataset, split_last_out
from shortlist.fitting import fit
from shortlist.model import history_width
from shortlist.training import Training
from shortlist.training.examples import move

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


@needs_gpu
@pytest.mark.parametrize("name", TRAINED)
def test_a_gpu_computes_the_same_loss_and_gradients(name: str, dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = TRAINED[name].build(dataset.catalogue()).eval()  # nothing is dropped by chance
    for part in network.modules():
        part.train(isinstance(part, torch.nn.GRU))  # cuDNN gives gradients in training alone
    examples = examples_of(TRAINED[name], dataset)
    found = []
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        with torch.backends.cudnn.flags(allow_tf32=False):
            value = network.loss(move(examples, torch.device(device)))
            value.backward()
        found.append([value.item(), *(each.grad.to("cpu", copy=True) for each in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_model_trains_on_a_gpu_and_comes_back(name: str, precision: str, dataset: Dataset) -> None:
    train, valid, _ = split_last_out(dataset)
    metric = "rmse" if "ratings" in name else "ndcg@10"
    on_gpu = Training(epochs=3, batch_size=32, device="cuda", precision=precision, metric=metric)
    model = fit(TRAINED[name], train, validation=valid, training=on_gpu)
    assert model.log.epochs
    assert all(each.device.type == "cpu" and bool(torch.isfinite(each).all()) for each in model.network.parameters())
    scores_of(model, requests_of(train, history_width(TRAINED[name])))
