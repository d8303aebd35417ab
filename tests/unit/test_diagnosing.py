"""A small trained funnel is looked into; what is found agrees with what the funnel answers."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import read_later
from shortlist.data.batches import evaluation_batches
from shortlist.data.synthetic import make_shop
from shortlist.errors import SettingsError


@pytest.fixture(scope="module")
def parts() -> tuple[sl.Dataset, sl.Dataset, sl.Recommender]:
    shop = make_shop(users=150, items=160, events=3_000, seed=1)
    dataset = sl.read_dataset(shop.events, items=shop.items, users=shop.users)
    train, valid, test = sl.split_by_time(dataset)
    once = sl.Training(epochs=2, patience=None)
    recommender = sl.train(
        train, validation=valid, retriever=sl.TwoTower(embedding_dim=8), ranker=sl.NeuMF(), index=sl.HNSW(),
        candidates=30, training=once,
    )  # fmt: skip
    return dataset, test, recommender


def test_a_diagnosis_looks_at_all_of_the_funnel(parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender]) -> None:
    _, test, recommender = parts
    report = sl.evaluate(recommender, test, metrics=["ndcg@10", "recall@10"], diagnose=True)
    found = report.diagnosis
    assert found is not None
    assert found.reasons == {}
    stages = {stage.name: stage for stage in report.stages}
    assert list(stages) == ["held out", "catalogue", "allowed", "exact", "retrieved", "unranked", "ranked"]
    assert found.depth is not None
    assert found.depth.served is not None
    here = found.depth.sizes.index(30)
    assert found.depth.exact[here] == pytest.approx(stages["exact"].recall.value)
    assert found.depth.served[here] == pytest.approx(stages["retrieved"].recall.value)
    assert found.depth.exact[0] <= stages["exact"].recall.value
    assert found.popularity is not None
    assert sum(found.popularity.shown) == pytest.approx(1)
    assert found.reliability is not None
    assert found.reliability.num_predictions == 30 * report.num_users
    assert [curve.part for curve in found.training] == ["retriever", "ranker"]
    assert found.items is not None
    assert len(found.items.x) == 160
    assert found.items.by == "category"
    assert [point.setting for point in found.speed if point.is_used] == [repr(recommender.funnel.index.tuned)]
    for example in found.examples:
        hits = sum(one.is_hit for one in example.after or ())
        shown = sum(fate.startswith("found") for _, fate in example.held_out)
        assert shown == min(hits, len(example.held_out))


def test_evaluation_without_it_runs_no_exact_search(parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender]) -> None:
    _, test, recommender = parts
    report = sl.evaluate(recommender, test, metrics=["ndcg@10"])
    assert "exact" not in {stage.name for stage in report.stages}
    assert report.diagnosis is None
    assert any("No exact search" in note for note in report.stage_notes)
    with pytest.raises(SettingsError, match="auc judges predictions"):
        sl.evaluate(recommender, test, metrics=["auc"], diagnose=True)


def test_removed_items_are_not_in_the_catalogue(parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender]) -> None:
    _, test, recommender = parts
    gone = next(evaluation_batches(test, history=1)).targets[0, :1]
    fresh = sl.Recommender(recommender.funnel.retriever, index=sl.Exact())
    taken = int((test.targets().items == gone).sum())
    fresh.funnel.index.remove(gone)
    stages = {stage.name: stage for stage in sl.evaluate(fresh, test, metrics=["hr@5"]).stages}
    assert stages["held out"].targets - stages["catalogue"].targets == taken > 0


def test_two_recommenders_are_compared_directly(parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender]) -> None:
    _, test, recommender = parts
    popular = sl.fit(sl.Popularity(), recommender.funnel.retriever.dataset)
    found = sl.compare(recommender, popular, test, metric="ndcg@10")
    a, b = (sl.evaluate(one, test, metrics=["ndcg@10"]) for one in (recommender, popular))
    assert found.difference == pytest.approx(a["ndcg@10"].value - b["ndcg@10"].value)
    assert found.low < found.difference < found.high
    assert sl.compare(a, popular, test) == found
    assert sl.compare(a, b) == found
    with pytest.raises(SettingsError, match="needs the part to evaluate them on"):
        sl.compare(recommender, popular)


def test_a_bundle_tells_cold_items_as_the_recommender_did(
    parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender], tmp_path: Path
) -> None:
    """Its histories hold the held-out events, by which no item may be popular."""
    dataset, test, recommender = parts
    recommender.with_data(history=dataset, held_out=test).save(tmp_path / "a.bundle")
    loaded = sl.load(tmp_path / "a.bundle")
    assert loaded.held_out is not None
    report = sl.evaluate(loaded, loaded.held_out, metrics=["hr@10"])
    counts = test.before().events.item_counts()
    own = test.targets()
    cold = {(int(row), int(item)) for row, item in zip(own.rows(), own.items, strict=True) if counts[int(item)] == 0}
    found = [segment.stages[0].targets for segment in report.segments if segment.name == "cold"]
    assert sum(found) == len(cold)


def test_later_events_of_unknown_items_are_counted_as_lost(
    parts: tuple[sl.Dataset, sl.Dataset, sl.Recommender],
) -> None:
    dataset, _, recommender = parts
    newest = int(dataset.events.times.max())  # type: ignore[union-attr]
    user, other = (str(name) for name in dataset.encoders.users.ids[:2])
    item = str(dataset.encoders.items.ids[0])
    later = pl.DataFrame(
        {
            "user_id": [user, user, user, other],
            "item_id": [item, "brand new", "newer", "brand new"],
            "timestamp": [newest + step for step in (1, 1, 2, 3)],
        }
    )
    part = read_later(later, dataset)
    assert part.unknown_targets is not None
    assert part.unknown_targets[[1, 2]].tolist() == [2, 1]
    report = sl.evaluate(recommender, part, metrics=["hr@160"], exclude_seen=False)
    stages = {stage.name: stage for stage in report.stages}
    assert (report.num_users, stages["held out"].targets, stages["catalogue"].targets) == (1, 4, 1)
    assert stages["catalogue"].recall.value == pytest.approx((1 / 3 + 0) / 2)
    assert torch.equal(part.before().events.items, dataset.events.items)
