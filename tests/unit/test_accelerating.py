"""A funnel in ONNX Runtime answers as it does in PyTorch, and what cannot run there says so and stays."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import polars as pl
import pytest
import torch
from torch import Tensor, nn

import shortlist as sl
from shortlist.accelerating import accelerated, is_accelerated
from shortlist.contracts import Candidates, ModelSettings
from shortlist.data import Dataset
from shortlist.funnel import Funnel
from shortlist.model import Model, TrainedUntil
from shortlist.recommender import Recommender
from shortlist.sources import evidence_width

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

RETRIEVERS: dict[str, ModelSettings] = {
    "SASRec": sl.SASRec(embedding_dim=8, history=6),
    "SASRec, pre_ln, two heads": sl.SASRec(embedding_dim=8, history=6, num_heads=2, block="pre_ln"),
    "SASRec, ligr, cosine": sl.SASRec(embedding_dim=8, history=6, block="ligr", similarity="cosine", num_blocks=1),
    "GRU4Rec": sl.GRU4Rec(hidden=(8, 6), history=6),
    "GRU4Rec, separate, cosine": sl.GRU4Rec(
        hidden=(8,), history=6, embedding="separate", embedding_dim=5, similarity="cosine"
    ),
}
RANKERS: dict[str, ModelSettings] = {
    "NeuMF": sl.NeuMF(),
    "DeepFM": sl.DeepFM(hidden=(16,), init_std=0.1),
    "DeepFM, project": sl.DeepFM(hidden=(16,), head="project", init_std=0.1),
    "DLRM": sl.DLRM(embedding_dim=4, top=(8,)),
    "DLRM, cat": sl.DLRM(embedding_dim=4, top=(8,), interaction="cat"),
    "CrossAttention": sl.CrossAttention(embedding_dim=8, history=6),
    "CrossAttention, listwise": sl.CrossAttention(embedding_dim=8, history=6, listwise=True),
}


def _model(settings: ModelSettings, dataset: Dataset, *, evidence: int = 0) -> Model:
    """With weights as large as learnt ones, and none of them 0."""
    torch.manual_seed(0)
    catalogue = dataset.catalogue().with_evidence(evidence)
    network = settings.build(catalogue).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Model(settings, network, dataset, catalogue, TrainedUntil.of(dataset))


def _funnel(dataset: Dataset, retriever: ModelSettings, ranker: ModelSettings | None = None) -> Funnel:
    scorer = None if ranker is None else _model(ranker, dataset, evidence=evidence_width(1))
    return Funnel.of(_model(retriever, dataset), index=sl.Exact(), ranker=scorer, candidates=10)


@pytest.mark.parametrize("name", [*RETRIEVERS, *RANKERS])
def test_a_funnel_answers_the_same(name: str, dataset: Dataset) -> None:
    """One request and several, with histories of all lengths, and of none."""
    plain = _funnel(dataset, RETRIEVERS.get(name, RETRIEVERS["SASRec"]), RANKERS.get(name))
    quick = accelerated(plain)
    assert all(is_accelerated(model) for model in quick.models)
    assert not any(is_accelerated(model) for model in plain.models)
    requests = plain.retriever.requests_of(torch.arange(len(dataset.events.lengths)))
    requests = replace(requests, user_features=dataset.user_features)
    assert requests.length is not None
    short = replace(requests, length=requests.length.clamp(max=2))
    short = replace(short, history=short.history[:, :2] if short.history is not None else None)
    nothing = replace(requests, history=torch.zeros(13, 0, dtype=torch.int64), length=torch.zeros(13).long())
    for asked in (requests, requests.take(torch.tensor([3])), short, nothing, requests.take(torch.arange(0))):
        wanted, found = (funnel.shortlist(asked, k=5) for funnel in (plain, quick))
        for stage in ("retrieved", "ranked"):
            theirs, ours = getattr(wanted, stage), getattr(found, stage)
            torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-4)
            near = (theirs.scores.diff(dim=1).abs() < 1e-4).any(1)
            assert torch.equal(ours.items[~near], theirs.items[~near])


def test_pairs_without_evidence_are_scored_by_the_networks_own_way(dataset: Dataset) -> None:
    plain = _funnel(dataset, RETRIEVERS["SASRec"], RANKERS["DLRM"])
    quick = accelerated(plain)
    assert plain.ranker is not None
    assert quick.ranker is not None
    requests = plain.retriever.requests_of(torch.tensor([1, 2]))
    pairs = Candidates(torch.tensor([[1, 2], [3, 4]]), torch.zeros(2, 2))
    wanted, found = (each.network.score(requests, pairs) for each in (plain.ranker, quick.ranker))  # type: ignore[operator]
    assert torch.equal(wanted, found)


@pytest.mark.parametrize("name", ["GRU4Rec", "DLRM"])
def test_a_refreshed_recommender_goes_on_with_the_same_graphs(name: str, dataset: Dataset) -> None:
    """They hold layers, which a refresh leaves as they are, and no tables."""
    plain = Recommender(
        _model(RETRIEVERS.get(name, RETRIEVERS["SASRec"]), dataset),
        index=sl.Exact(),
        ranker=_model(RANKERS[name], dataset, evidence=evidence_width(1)) if name in RANKERS else None,
        candidates=10,
    )
    assert dataset.item_table is not None
    more = dataset.item_table.frame.head(2).with_columns(item_id=pl.Series([901, 902]))
    quick, wanted = plain.accelerated().refresh(more, remove=[3]), plain.refresh(more, remove=[3])
    assert all(is_accelerated(model) for model in quick.funnel.models)
    users = plain.known_users()
    ours, theirs = (each.recommend(users, k=15, exclude_seen=False) for each in (quick, wanted))
    assert 901 in theirs["item_id"]
    assert ours["score"].to_list() == pytest.approx(theirs["score"].to_list(), rel=1e-4, abs=1e-4)


def test_what_has_no_such_part_stays_as_it_is(dataset: Dataset) -> None:
    plain = Funnel.of([_model(sl.MF(embedding_dim=8), dataset), sl.fit(sl.ItemKNN(), dataset)], index=sl.Exact())
    assert [model.network for model in accelerated(plain).models] == [model.network for model in plain.models]


class _Untraceable(nn.Module):
    """Its graph would hold what it was written with."""

    axes: ClassVar = {"vectors": "BTD", "length": "B"}

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def embed_requests(self, requests: Any) -> Tensor:
        return self.from_rows(self.rows(requests))

    def rows(self, requests: Any) -> Any:
        return self.network.rows(requests)  # type: ignore[operator]

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["vectors"].sum(1) * float(rows["vectors"].abs().sum())


class _Failing(_Untraceable):
    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        return torch.linalg.matrix_exp(rows["vectors"] @ rows["vectors"].mT)[:, 0]


@pytest.mark.parametrize(("kind", "message"), [(_Untraceable, "computes something else: by"), (_Failing, "failed: ")])
def test_a_graph_that_is_not_the_network_is_not_used(
    kind: type[_Untraceable], message: str, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    funnel = _funnel(dataset, RETRIEVERS["SASRec"])
    model = replace(funnel.retriever, network=kind(funnel.retriever.network))
    odd = replace(funnel, sources=(replace(funnel.sources[0], model=model),))
    with caplog.at_level(logging.INFO, logger="shortlist"):
        quick = accelerated(odd)
    assert not is_accelerated(quick.retriever)
    assert f"SASRec runs in PyTorch, for ONNX Runtime {message}" in caplog.text


def test_without_the_library_everything_stays(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    plain = _funnel(dataset, RETRIEVERS["SASRec"])
    with caplog.at_level(logging.INFO, logger="shortlist"):
        assert accelerated(plain) is plain
    assert 'pip install "shortlist[onnx]"' in caplog.text
