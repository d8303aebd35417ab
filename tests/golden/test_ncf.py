"""NCF equals its authors' networks on their trained weights: logits, fusion, and the figures on their test lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.golden.conftest import Golden
from torch import Tensor

from shortlist.contracts import Candidates, Catalogue, EvaluationBatch, Filter, Requests, Stages
from shortlist.evaluation import evaluate, given_candidates
from shortlist.models.neumf import NeuMF, NeuMFNetwork

CATALOGUE = Catalogue(num_users=6040, num_items=3706)
Build = Callable[[str], tuple[NeuMFNetwork, dict[str, Tensor]]]


def _with_unknown(values: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(values[:1]), values))


@pytest.fixture
def build(golden: Golden) -> Build:
    """Our network with the weights of a file of theirs; users and items are numbered from 0 there, from 1 here."""

    def made(path: str) -> tuple[NeuMFNetwork, dict[str, Tensor]]:
        if path == "both":
            network = NeuMF().build(CATALOGUE)
            assert isinstance(network, NeuMFNetwork)
            network.start_from({name: made(name)[0] for name in ("gmf", "mlp")})
            return network, golden("ncf_ml1m_neumf8_init")
        file = golden("ncf_ml1m_gmf8" if path == "gmf" else "ncf_ml1m_mlp8")
        network = NeuMF(paths=path).build(CATALOGUE)  # type: ignore[arg-type]
        assert isinstance(network, NeuMFNetwork)
        weights = {
            "users.embedding.weight": _with_unknown(file["w/user_embedding.W"]),
            "items.embedding.weight": _with_unknown(file["w/item_embedding.W"]),
            "prediction.weight": file["w/prediction.W"].T,
            "prediction.bias": file["w/prediction.b"],
        }
        if path == "mlp":
            for layer in (1, 2, 3):
                weights[f"hidden.{2 * layer - 2}.weight"] = file[f"w/layer{layer}.W"].T
                weights[f"hidden.{2 * layer - 2}.bias"] = file[f"w/layer{layer}.b"]
        network.load_state_dict(weights)
        return network.eval(), file

    return made


@pytest.mark.parametrize("path", ["gmf", "mlp", "both"])
def test_logits_equal_the_authors(path: str, build: Build) -> None:
    network, file = build(path)
    users, items = file["in/pairs"].long().T + 1
    with torch.inference_mode():
        logits = network(users, items[:, None])[:, 0]
        torch.testing.assert_close(torch.sigmoid(logits), file["out/prob"], rtol=0, atol=2e-6)
        wide = network.double()(users, items[:, None])[:, 0]
    torch.testing.assert_close(wide, file["out64/logit"], rtol=1e-6, atol=1e-9)


def test_the_fusion_weighs_prediction_layers_and_biases(build: Build) -> None:
    network, file = build("both")
    torch.testing.assert_close(network.prediction.weight, file["w/prediction.W"].T, rtol=0, atol=1e-7)
    torch.testing.assert_close(network.prediction.bias, file["w/prediction.b"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("path", ["gmf", "mlp", "both"])
def test_the_figures_on_their_test_lists_equal_theirs(path: str, build: Build, golden: Golden) -> None:
    """Every user's test item among their 99 negatives, each item once."""
    network, file = build(path)
    lists = golden("ncf_ml1m_test")
    targets, negatives = lists["in/gt_item"].long()[:, None] + 1, lists["in/negatives"].long() + 1
    users = lists["in/user"].long() + 1

    @torch.inference_mode()
    def shortlist(requests: Requests, *, k: int, filter: Filter) -> Stages:
        assert requests.user is not None
        assert filter.allowed is not None
        given = Candidates(filter.allowed, network(requests.user, filter.allowed))
        found = given.reorder(given.scores, k)
        return Stages(found, found, found)

    batch = EvaluationBatch(
        Requests(user=users), targets, given_candidates(negatives, targets), torch.zeros_like(users)
    )
    report = evaluate(shortlist, [batch], metrics=("hr@10", "ndcg@10"), num_items=3706, bootstrap=0)
    assert report["hr@10"].value == pytest.approx(float(file["eval/hr10"]), abs=1e-9)
    assert report["ndcg@10"].value == pytest.approx(float(file["eval/ndcg10"]), abs=1e-9)
