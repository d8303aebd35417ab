"""Many small refreshes come to the same as few large ones, share their memory, and leave what serves meanwhile alone."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.layered import LayeredFeatures
from shortlist.models.item_features import ItemsInTable
from shortlist.recommender import Recommender
from shortlist.renewing import resume

ITEMS, USERS = 320, 30
QUICK = sl.Training(epochs=1, batch_size=64, patience=None)
ALL = sl.IVFPQ(nlist=8, nprobe=8, k_factor=64)  # looks everywhere, so that answers are exact
KINDS: dict[str, tuple[Any, Any]] = {
    "two towers and DLRM": (
        sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8),
        sl.DLRM(embedding_dim=4, bottom=(4,), top=(8,)),
    ),
    "SASRec and DeepFM": (sl.SASRec(embedding_dim=8, history=5, dropout=0.0), sl.DeepFM(hidden=(8,))),
    "MF and cross-attention": (
        sl.MF(embedding_dim=8, negatives=8),
        sl.CrossAttention(embedding_dim=8, history=5, dropout=0.0),
    ),
}


def table(items: list[int], seed: int = 0) -> pl.DataFrame:
    """Rows of items, drawn anew for each seed."""
    draw = np.random.default_rng((seed, *items))
    return pl.DataFrame(
        {
            "item_id": items,
            "title": [f"thing {item} of {seed}" for item in items],
            "kind": draw.choice(["tea", "cup", "pot", "mat"], len(items)).tolist(),
            "tags": ["|".join(draw.choice(["red", "blue", "new"], 2)) for _ in items],
            "price": draw.lognormal(1, 1, len(items)).tolist(),
        }
    )


@pytest.fixture(scope="module")
def shop() -> Dataset:
    draw = np.random.default_rng(0)
    events = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in draw.integers(0, USERS, 600)],
            "item_id": draw.integers(0, ITEMS, 600),
            "timestamp": 1_000_000 + np.arange(600),
        }
    )
    features = [
        {"name": "kind", "kind": "categorical", "owner": "item"},
        {"name": "tags", "kind": "multi", "owner": "item", "separator": "|"},
        {"name": "price", "kind": "numeric", "owner": "item"},
    ]
    return sl.read_dataset(events, items=table(list(range(ITEMS))), schema={"features": features, "title": "title"})


@pytest.fixture(scope="module", params=KINDS)
def recommender(request: pytest.FixtureRequest, shop: Dataset) -> Recommender:
    retriever, ranker = KINDS[request.param]
    model = sl.fit(retriever, shop, training=QUICK)
    return Recommender(
        model, ranker=sl.fit(ranker, shop, training=QUICK), index=ALL, candidates=ITEMS + 200, caps={"kind": 40}
    )


def asked(recommender: Recommender, new: tuple[int, ...] = ()) -> pl.DataFrame:
    """All that some users, one of whom has met new items, are answered."""
    events = [{"user_id": "u1", "item_id": item, "timestamp": 2_000_000} for item in new]
    return recommender.recommend(
        ["u0", "u1", "u2", "nobody"], events=events or None, k=ITEMS + 200, exclude_seen=False, caps={}
    )


def assert_alike(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """The same items for each user, and the same scores but for rounding."""
    order = ["user_id", "item_id"]
    found, wanted = found.sort(order), wanted.sort(order)
    assert found.select(order).equals(wanted.select(order))
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-4, atol=1e-5)


def test_200_small_refreshes_come_to_the_same_as_three_large_ones(recommender: Recommender, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    first: dict[int, int] = {}  # of the new items: the seed of the row they came with
    last: dict[int, int] = {}  # of all that were in a table
    gone: set[int] = set()
    known, current = list(range(ITEMS)), recommender
    generations: list[tuple[Recommender, pl.DataFrame]] = [(recommender, asked(recommender))]
    for step in range(1, 201):
        what = draw.choice(["new", "changed", "removed", "again"], p=[0.25, 0.2, 0.4, 0.15])
        if what == "new":
            item = 1_000 + len(first)
            first[item] = last[item] = step
            known.append(item)
            current = current.refresh(table([item], seed=step))
        elif what == "removed":
            item = int(draw.choice([item for item in known if item not in gone]))
            gone.add(item)
            current = current.refresh(remove=[item])
        else:
            item = int(draw.choice(sorted(gone) if what == "again" and gone else known))
            gone.discard(item)
            last[item] = step
            current = current.refresh(table([item], seed=step))
        if step % 20 == 0:
            generations.append((current, asked(current)))
    once = recommender.refresh(pl.concat([table([item], seed=seed) for item, seed in first.items()]))
    once = once.refresh(pl.concat([table([item], seed=seed) for item, seed in last.items()]), remove=sorted(gone))
    new = (1_000, 1_001, 5)
    assert 30 < len(first) < 80
    assert len(gone) > 10
    assert set(asked(current)["item_id"]) == set(known) - gone
    assert_alike(asked(current, new), asked(once, new))
    where = "price < 3 and kind <> 'tea'"
    for recommend in ({"where": where, "caps": {}}, {"caps": {"tags": 9, "kind": 12}}, {}):
        answers = [each.recommend(["u0", "u1"], k=30, exclude_seen=False, **recommend) for each in (current, once)]
        assert_alike(*answers)
    items = [*known[::7], *first]
    assert current.titles(items) == once.titles(items)
    assert current.titles([1_000]) == [f"thing 1000 of {last[1_000]}"]
    for generation, answer in generations:  # each still says what it said
        assert asked(generation).equals(answer)
    current.save(tmp_path / "bundle")
    loaded = sl.load(tmp_path / "bundle")
    assert asked(loaded, new).equals(asked(current, new))
    assert loaded.titles(items) == current.titles(items)
    later = [asked(each.refresh(table([2_000, 3], seed=7), remove=[4])) for each in (loaded, current)]
    assert set(later[0]["item_id"]) == set(later[1]["item_id"]) == ({*known, 2_000} - gone - {4}) | {3}


def test_a_generation_answers_the_same_while_later_ones_are_made(recommender: Recommender) -> None:
    serving = recommender.refresh(table([900, 3], seed=1), remove=[7])
    wanted, wrong, stop = asked(serving), [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if not asked(serving).equals(wanted):
                wrong.append("changed")

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    current = serving
    for step in range(15):
        current = current.refresh(table([901 + step, 3, 900], seed=step), remove=[10 + step])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert asked(serving).equals(wanted)
    assert set(asked(current)["item_id"]) == {*range(ITEMS), *range(900, 916)} - {7, *range(10, 25)}


def test_two_refreshes_of_one_recommender_know_nothing_of_each_other(recommender: Recommender) -> None:
    common = recommender.refresh(table([900]))
    left, right = common.refresh(table([901], seed=1)), common.refresh(table([902, 901], seed=2))
    answers = {name: set(asked(each)["item_id"]) for name, each in {"left": left, "right": right}.items()}
    assert answers["left"] - answers["right"] == set()
    assert answers["right"] - answers["left"] == {902}
    assert left.titles([901, 902]) == ["thing 901 of 1", None]
    assert right.titles([901]) == ["thing 901 of 2"]
    fresh = recommender.refresh(table([900])).refresh(table([901], seed=1))
    assert_alike(asked(left), asked(fresh))


def test_weights_and_features_are_shared_whatever_is_refreshed(recommender: Recommender) -> None:
    current = recommender
    for step in range(5):
        current = current.refresh(table([900 + step, step], seed=step), remove=[100 + step])
    for before, after in zip(recommender.funnel.models, current.funnel.models, strict=True):
        weights = dict(before.network.named_parameters())
        assert all(weight is weights[name] for name, weight in after.network.named_parameters())
        laid_out = [part for part in before.network.modules() if isinstance(part, ItemsInTable)]
        later = [part for part in after.network.modules() if isinstance(part, ItemsInTable)]
        for first, now in zip(laid_out, later, strict=True):
            assert isinstance(now.features, LayeredFeatures)
            assert now.features.base is first.features
        features = after.dataset.item_features
        assert isinstance(features, LayeredFeatures)
        assert features.base is before.dataset.item_features
        assert len(features.tail) == 10


def test_training_goes_on_from_a_refreshed_recommender(recommender: Recommender) -> None:
    fresh = recommender.refresh(table([900, 901, 3], seed=1), remove=[7])
    later = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(20)] * 3,
            "item_id": [900] * 30 + [5, 901, 903] * 10,
            "timestamp": 2_000_000 + np.arange(60),
        }
    )
    before = {
        name: weight.clone() for model in fresh.funnel.models for name, weight in model.network.state_dict().items()
    }
    renewed = resume(fresh, later, training=QUICK)
    after = {name: weight for model in fresh.funnel.models for name, weight in model.network.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)  # it is not what was trained
    assert set(asked(renewed)["item_id"]) == {*range(ITEMS), 900, 901, 903} - {7}
    assert renewed.dataset.item_features is not None
    assert len(renewed.dataset.item_features) == ITEMS + 4
    again = sl.fit_partial(fresh.funnel.retriever, later, training=QUICK)
    assert again.dataset.num_items == ITEMS + 3


def test_notes_of_refreshes_are_added_up(recommender: Recommender) -> None:
    current = recommender
    for step in range(4):
        current = current.refresh(table([900 + step, 1]), remove=[50 + step])
    notes = current.dataset.notes[len(recommender.dataset.notes) :]
    assert notes == ("items: 4 items added, 4 known ones changed", "4 items withdrawn")


def test_an_item_to_remove_may_be_named_twice_and_is_removed_once(recommender: Recommender) -> None:
    current = recommender.refresh(remove=[5, 5]).refresh(remove=[5])
    assert set(asked(current)["item_id"]) == set(range(ITEMS)) - {5}


def test_what_the_first_refresh_needs_can_be_learnt_ahead(recommender: Recommender) -> None:
    """Then no event is counted any more when it comes."""
    recommender.warm_up()
    events = [model.dataset.events for model in recommender.funnel.models]
    with pytest.MonkeyPatch.context() as patch:
        for each in {type(each) for each in events}:
            patch.setattr(each, "item_counts", lambda _: pytest.fail("events were counted"))
        fresh = recommender.refresh(table([950], seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 950 in set(asked(fresh)["item_id"])
