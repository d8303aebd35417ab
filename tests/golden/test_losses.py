"""Losses equal the values that independent implementations computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shortlist.models import losses


@pytest.fixture(scope="module")
def explicit(golden_dir: Path) -> dict[str, torch.Tensor]:
    file = np.load(golden_dir / "losses_explicit.npz", allow_pickle=False)
    return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files if name != "meta"}


def test_binary_cross_entropy_with_negatives(explicit: dict[str, torch.Tensor]) -> None:
    value = losses.bce(explicit["in/pos"], explicit["in/neg"])
    torch.testing.assert_close(value, explicit["eq64/bce_per_row_mean_over_1+K"].mean(), rtol=0, atol=1e-9)


def test_bpr_and_its_gradients(explicit: dict[str, torch.Tensor]) -> None:
    positive, negatives = explicit["in/pos"].clone().requires_grad_(), explicit["in/neg"].clone().requires_grad_()
    value = losses.bpr(positive, negatives)
    value.backward()
    torch.testing.assert_close(value, explicit["eq64/bpr_mean"], rtol=0, atol=1e-9)
    torch.testing.assert_close(positive.grad, explicit["eq64/bpr_mean_grad_pos"], rtol=0, atol=1e-9)
    torch.testing.assert_close(negatives.grad, explicit["eq64/bpr_mean_grad_neg"], rtol=0, atol=1e-9)


def test_softmax_among_negatives(explicit: dict[str, torch.Tensor]) -> None:
    plain = losses.softmax(explicit["in/pos"], explicit["in/neg"])
    torch.testing.assert_close(plain, explicit["eq64/sampled_softmax_uncorrected_per_row"].mean(), rtol=0, atol=1e-9)
    corrected = losses.softmax(explicit["in/pos"], explicit["in/neg"] - torch.log(explicit["in/q_neg"]))
    wanted = explicit["eq64/sampled_softmax_logq_negatives_only_per_row"].mean()
    torch.testing.assert_close(corrected, wanted, rtol=0, atol=1e-9)


def test_two_tower_loss_equals_tensorflow_recommenders(golden_dir: Path) -> None:
    file = np.load(golden_dir / "tfrs_retrieval_loss.npz", allow_pickle=False)
    checked = 0
    for case in file["cases"]:
        name = str(case)
        columns, temperature, logq, removed, reduction = name.rsplit("_", 4)
        if "hard" in columns or "multihead" in columns:
            continue
        normalised = "_normalised" if columns.startswith("cosine") else ""
        query = torch.from_numpy(file[f"in/query{normalised}"]).double().requires_grad_()
        given = torch.from_numpy(file[f"in/candidates{normalised}"]).double().requires_grad_()
        candidates = given
        ids = torch.from_numpy(file["in/candidate_ids"])
        prob = torch.from_numpy(file["in/sampling_prob"]).double().clamp(1e-6, 1.0)
        if columns.startswith("inbatch"):
            candidates, ids, prob = candidates[: len(query)], ids[: len(query)], prob[: len(query)]
        masked = ids[: len(query), None] == ids[None]
        masked[torch.arange(len(query)), torch.arange(len(query))] = False
        weights = (
            torch.from_numpy(file["in/sample_weight"]).double()
            if "weighted" in columns
            else torch.ones(len(query)).double()
        )
        scale = 1.0 if temperature == "TNone" else float(temperature.removeprefix("T"))
        value = losses.sampled_softmax(
            query,
            candidates,
            torch.arange(len(query)),
            temperature=scale,
            log_prob=torch.log(prob) if logq == "logq1" else None,
            masked=masked if removed == "rm1" else None,
            weights=weights,
        )
        total = value * (weights.sum() if reduction == "sum" else 1)
        total.backward()
        np.testing.assert_allclose(total.item(), file[f"eq64/{name}/loss"], rtol=1e-6)
        assert query.grad is not None
        np.testing.assert_allclose(query.grad, file[f"out/{name}/grad_query"], atol=1e-4, rtol=1e-4)
        checked += 1
    assert checked >= 10


def test_weights_count_an_example_as_often_as_they_say() -> None:
    positive, negatives = torch.tensor([0.3, -1.0]), torch.tensor([[0.1], [0.4]])
    doubled = torch.tensor([0, 0, 1])
    weighted = losses.bce(positive, negatives, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(weighted, losses.bce(positive[doubled], negatives[doubled]))


def test_a_list_without_positives_teaches_nothing() -> None:
    scores = torch.tensor([[1.0, 2.0, 9.0], [0.5, -0.5, 0.0]], requires_grad=True)
    labels = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    value = losses.list_softmax(scores, labels, valid)
    value.backward()
    torch.testing.assert_close(value, torch.log(1 + torch.exp(torch.tensor(-1.0))))
    assert scores.grad is not None
    assert torch.equal(scores.grad[1], torch.zeros(3))
    assert scores.grad[0, 2] == 0


def test_the_blocked_softmax_has_the_gradient_of_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(300, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(340, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    log_prob, weights = torch.randn(340, generator=generator).double(), torch.rand(300, generator=generator).double()
    masked = torch.rand(300, 340, generator=generator) < 0.2
    columns = torch.randint(0, 340, (300,), generator=generator)
    masked[torch.arange(300), columns] = False
    logits = (queries @ candidates.T / 0.3 - log_prob).masked_fill(masked, -torch.inf)
    rows = torch.nn.functional.cross_entropy(logits, columns, reduction="none")
    plain = torch.autograd.grad((rows * weights).sum() / weights.sum(), (queries, candidates))
    value = losses.sampled_softmax(
        queries, candidates, columns, temperature=0.3, log_prob=log_prob, masked=masked, weights=weights
    )
    for mine, wanted in zip(torch.autograd.grad(value, (queries, candidates)), plain, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_the_power_of_gbce(explicit: dict[str, torch.Tensor]) -> None:
    num = explicit["in/neg"].shape[1]
    for items in (20, 1000):
        for calibration in ("0", "0.5", "0.75", "1"):
            power = losses.gbce_power(float(calibration), num_negatives=num, num_items=items)
            assert power == pytest.approx(float(explicit[f"eq64/gbce_beta_items{items}_t{calibration}"]), rel=1e-12)


def test_softmax_with_a_temperature_and_losses_of_the_hardest(explicit: dict[str, torch.Tensor]) -> None:
    scores = torch.cat((explicit["in/pos"][:, None], explicit["in/neg"]), dim=1)
    first = torch.zeros(len(scores), dtype=torch.int64)
    value = losses.sampled_softmax(scores, torch.eye(scores.shape[1], dtype=scores.dtype), first, temperature=0.1)
    wanted = explicit["eq64/sampled_softmax_temperature0.1_per_row"].mean()
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-9)
    for name, rows in {
        "bpr_max_reg0": losses.bpr_max(scores, first),
        "bpr_max_reg1.95": losses.bpr_max(scores, first, regularization=1.95),
        "top1_max": losses.top1_max(scores, first),
    }.items():
        torch.testing.assert_close(rows, explicit[f"eq64/{name}_per_row"], rtol=0, atol=1e-9, msg=name)
