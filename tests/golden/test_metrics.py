"""Figures that ranx, trec_eval, scikit-learn, RecBole, RecTools and the NCF authors' code gave for the same lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.evaluation import evaluate, given_candidates, ranks, ranks_of_scores
from shortlist.evaluation.metrics import Metric, measure
from shortlist.evaluation.pointwise import auc, grouped_auc, log_loss

Array = npt.NDArray[np.float64]
Golden = dict[str, npt.NDArray[np.generic]]


def load(folder: Path, name: str) -> Golden:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return load(golden_dir, "metrics")


def in_this_order(items: npt.NDArray[np.generic]) -> Candidates:
    """Lists of item indices from 1, 0 where empty, with scores that fall and never tie."""
    listed = torch.from_numpy(np.ascontiguousarray(items, dtype=np.int64))
    falling = -torch.arange(listed.shape[1], dtype=torch.float32).expand(listed.shape)
    return Candidates(listed, falling.masked_fill(listed == 0, -torch.inf))


def padded(relevant: npt.NDArray[np.generic]) -> torch.Tensor:
    """A 0/1 matrix to target indices from 1, padded with 0."""
    return torch.from_numpy(np.where(relevant != 0, np.arange(1, relevant.shape[1] + 1), 0))


def ideal(hits: Array | int) -> Array:
    gains = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, 100)))))
    return gains[hits]


# What other tools call a metric, and what their definition is ours times.
OURS: dict[str, tuple[str, Callable[[Array, int], Array] | None]] = {
    "hit_rate": ("hr", None),
    "hit": ("hr", None),
    "success": ("hr", None),
    "recall": ("recall", None),
    "precision": ("precision", None),
    "ndcg": ("ndcg", None),
    "ndcg_cut": ("ndcg", None),
    "ndcg_achievable": ("ndcg", None),
    "ndcg_default": ("ndcg", lambda count, k: ideal(np.minimum(count, k)) / ideal(k)),
    "mrr": ("mrr", None),
    "map": ("map", None),
    "map_cut": ("map", None),
    "map_min_denominator": ("map", lambda count, k: count / np.minimum(count, k)),
    "map_divide_by_k": ("map", lambda count, k: count / k),
    "recbole map": ("map", lambda count, k: count / np.minimum(count, k)),
}


def test_every_tool_agrees_on_every_metric_at_every_cut_off(golden: Golden) -> None:
    users = golden["in/users_with_ground_truth"]
    targets = padded(golden["in/relevant"])[users]
    count = (targets != 0).sum(1)
    full = golden["in/order"][users] + 1
    short = np.where(np.arange(full.shape[1]) < golden["in/n_recommended"][users][:, None], full, 0)
    found = {name: ranks(in_this_order(items), targets) for name, items in (("full", full), ("short", short))}
    compared = 0
    for key, expected in golden.items():
        match = re.fullmatch(r"(eq64|ranx|trec_eval|recbole|rectools)/(full|short)/(\w+?)_(?:at_)?(\d+)", key)
        if match is None:
            assert not re.match(r"\w+/(full|short)/", key), f"{key} is not compared"
            continue
        tool, length, name, k = match[1], match[2], match[3], int(match[4])
        ours, factor = OURS[f"{tool} {name}" if f"{tool} {name}" in OURS else name]
        figures = measure(Metric(ours, k), found[length], count).numpy()
        if factor is not None:
            figures = figures * factor(count.numpy(), k)
        np.testing.assert_allclose(figures, expected, rtol=0, atol=1e-9, err_msg=key)
        compared += 1
    # each of six metrics, at each cut-off, in both lists, by the equations at least
    assert compared >= 2 * 6 * len(golden["in/ks"])


def test_an_item_that_is_answered_twice_counts_at_its_first_place(golden: Golden) -> None:
    truth = golden["in/dup_ground_truth_padded_minus1"]
    targets = torch.from_numpy(truth + 1)
    found = ranks(in_this_order(golden["in/dup_lists"] + 1), targets)
    collapsed = golden["in/dup_lists_collapsed_padded_minus1"]
    assert torch.equal(found, ranks(in_this_order(collapsed + 1), targets))
    keys = [key for key in golden if re.match(r"(eq64|ranx)/dup_collapsed/", key)]
    assert keys
    for key in keys:
        name, k = key.rsplit("/", 1)[1].split("_at_")
        figures = measure(Metric(name, int(k)), found, (targets != 0).sum(1))
        np.testing.assert_allclose(figures.numpy(), golden[key], rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.parametrize(
    ("rule", "key"),
    [("mean", "mean"), ("optimistic", "optimistic"), ("pessimistic", "pessimistic"), ("index", "stable_index")],
)
def test_a_tie_is_ranked_by_each_rule_as_the_reference_does(golden: Golden, rule: str, key: str) -> None:
    scores, column = torch.from_numpy(golden["in/scores"]), torch.from_numpy(golden["in/single_gt"])
    np.testing.assert_array_equal(ranks_of_scores(scores, column, ties=rule).numpy(), golden[f"eq64/rank0_{key}"])


def test_a_tie_in_an_answered_list_has_its_mean_rank(golden: Golden) -> None:
    scores = torch.from_numpy(golden["in/scores"])
    unknown = scores.new_full((len(scores), 1), -torch.inf)
    answered = Candidates.top(torch.cat([unknown, scores], dim=1), scores.shape[1])
    found = ranks(answered, torch.from_numpy(golden["in/single_gt"])[:, None] + 1)
    np.testing.assert_array_equal(found[:, 0].numpy(), golden["eq64/rank0_mean"])


def test_auc_and_log_loss_equal_those_of_scikit_learn_and_recbole(golden: Golden) -> None:
    prob, label = golden["in/ctr_prob"], golden["in/ctr_label"]
    assert auc(prob, labels=label) == pytest.approx(float(golden["sklearn/auc"]), abs=1e-9)
    assert auc(prob, labels=label) == pytest.approx(float(golden["recbole/auc"]), abs=1e-6)
    assert log_loss(prob, labels=label) == pytest.approx(float(golden["sklearn/logloss_clipped_1e-7"]), abs=1e-9)
    clipped = golden["in/ctr_prob_clipped_1e-7"]
    assert log_loss(clipped, labels=label) == pytest.approx(float(golden["sklearn/logloss_clipped_1e-7"]), abs=1e-9)
    assert log_loss(prob, labels=label, clip=1e-15) == pytest.approx(float(golden["recbole/logloss"]), abs=1e-9)


def test_grouped_auc_equals_scikit_learn_per_group_and_every_weighting(golden: Golden) -> None:
    result = grouped_auc(golden["in/ctr_prob"], labels=golden["in/ctr_label"], groups=golden["in/ctr_group"])
    np.testing.assert_array_equal(result.groups, golden["sklearn/group_id"])
    np.testing.assert_array_equal(result.impressions, golden["sklearn/group_n"])
    np.testing.assert_array_equal(result.positives, golden["sklearn/group_n_pos"])
    np.testing.assert_allclose(result.auc, golden["sklearn/group_auc"], rtol=0, atol=1e-9)
    assert result.mean() == pytest.approx(float(golden["eq64/gauc_weighted_by_impressions"]), abs=1e-9)
    assert result.mean(weight="positives") == pytest.approx(float(golden["eq64/gauc_weighted_by_positives"]), abs=1e-9)
    assert result.mean(weight="positives") == pytest.approx(float(golden["recbole/gauc"]), abs=1e-9)
    assert result.mean(weight="none") == pytest.approx(float(golden["eq64/gauc_unweighted"]), abs=1e-9)


# The authors' weights for MovieLens-1M, scored with their equations.


def hidden(user: Array, item: Array, weights: Golden) -> Array:
    """The last hidden layer of the MLP."""
    state = np.concatenate([user, item], axis=-1)
    layers = sorted(key for key in weights if re.fullmatch(r"w/layer\d+\.W", key))
    for layer in layers:
        state = np.maximum(state @ weights[layer] + weights[layer.replace(".W", ".b")], 0)
    return state


def ncf_logits(name: str, golden_dir: Path, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> Array:
    """Logits of pairs; users and items count from 0."""
    last: list[Array] = []
    gmf, mlp = load(golden_dir, "ncf_ml1m_gmf8"), load(golden_dir, "ncf_ml1m_mlp8")
    if name in ("gmf8", "neumf8_init"):
        last.append(gmf["w/user_embedding.W"][users] * gmf["w/item_embedding.W"][items])
    if name in ("mlp8", "neumf8_init"):
        last.append(hidden(mlp["w/user_embedding.W"][users], mlp["w/item_embedding.W"][items], mlp))
    weights = load(golden_dir, f"ncf_ml1m_{name}")
    return np.asarray((np.concatenate(last, axis=-1) @ weights["w/prediction.W"] + weights["w/prediction.b"])[..., 0])


@pytest.mark.parametrize("name", ["gmf8", "mlp8", "neumf8_init"])
def test_the_ncf_protocol_gives_the_published_figures(golden_dir: Path, name: str) -> None:
    lists, expected = load(golden_dir, "ncf_ml1m_test"), load(golden_dir, f"ncf_ml1m_{name}")
    user = torch.from_numpy(lists["in/user"].astype(np.int64))
    target = torch.from_numpy(lists["in/gt_item"].astype(np.int64))[:, None] + 1
    negatives = torch.from_numpy(lists["in/negatives"].astype(np.int64)) + 1

    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        assert requests.user is not None
        assert filter.allowed is not None
        items = filter.allowed
        logits = ncf_logits(
            name, golden_dir, requests.user[:, None].expand_as(items).numpy(), (items - 1).clamp(min=0).numpy()
        )
        found = Candidates(items, torch.from_numpy(logits)).reorder(torch.from_numpy(logits), k)
        return Stages(found, found, found)

    batch = EvaluationBatch(Requests(user=user), target, given_candidates(negatives, target), torch.ones_like(user))
    num_items = len(load(golden_dir, "ncf_ml1m_gmf8")["w/item_embedding.W"])
    report = evaluate(shortlist, [batch], num_items=num_items, metrics=["hr@10", "ndcg@10"], bootstrap=0)
    assert report["hr@10"].value == pytest.approx(float(expected["eval/hr10"]), abs=1e-12)
    assert report["ndcg@10"].value == pytest.approx(float(expected["eval/ndcg10"]), abs=1e-12)
    np.testing.assert_array_equal(report.per_user["hr@10"], expected["eval/hit10_per_user"])
    np.testing.assert_allclose(report.per_user["ndcg@10"], expected["eval/ndcg10_per_user"], rtol=0, atol=1e-12)
    assert report.protocol.startswith("sampled")


def test_ranks_of_given_candidates_need_the_target_only_once(golden_dir: Path) -> None:
    lists, expected = load(golden_dir, "ncf_ml1m_test"), load(golden_dir, "ncf_ml1m_gmf8")
    items = np.concatenate([lists["in/negatives"], lists["in/gt_item"][:, None]], axis=1).astype(np.int64)
    users = np.broadcast_to(lists["in/user"].astype(np.int64)[:, None], items.shape)
    logits = torch.from_numpy(ncf_logits("gmf8", golden_dir, users, items))
    column = torch.full((len(items),), items.shape[1] - 1)
    others = torch.from_numpy(items != lists["in/gt_item"][:, None])
    assert ranks_of_scores(logits, column, valid=others).tolist() == expected["eval/rank0_per_user"].tolist()
    # the trap: a target among its own negatives ties with itself
    doubled = ranks_of_scores(logits, column, ties="pessimistic")
    assert (doubled < 10).double().mean().item() == pytest.approx(
        float(expected["eval/hr10_pessimistic_no_dedup"]), abs=1e-12
    )
