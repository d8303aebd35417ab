"""The made-up shop keeps its promises, and its ceiling is the truth's."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from shortlist.data.synthetic import Shop, make_shop
from shortlist.errors import DataError, SettingsError


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop()


def popularity_ndcg(shop: Shop, k: int = 10) -> float:
    """NDCG@k of ranking the items that a user has not had by how often they occur before anyone's last event."""
    last = shop.last_events()
    known = shop.events.join(last, on=["user_id", "item_id"], how="anti")
    counts = known.group_by("item_id").len()
    ranked = counts.sort("len", descending=True, maintain_order=True)["item_id"].to_list()
    had = dict(known.group_by("user_id").agg("item_id").iter_rows())
    gains = []
    for user, target, _ in last.iter_rows():
        mine = set(had[user])
        best = [item for item in ranked if item not in mine][:k]
        gains.append(1 / np.log2(best.index(target) + 2) if target in best else 0.0)
    return float(np.mean(gains))


def test_the_same_seed_makes_the_same_shop_and_another_seed_another() -> None:
    sizes = {"users": 50, "items": 120, "events": 600, "days": 40}
    first, again, other = (make_shop(**sizes, seed=seed) for seed in (3, 3, 4))
    assert first.events.equals(again.events)
    assert first.items.equals(again.items)
    assert first.users.equals(again.users)
    assert not first.events.equals(other.events)


def test_the_numbers_asked_for_are_the_numbers_made(shop: Shop) -> None:
    assert (shop.users.height, shop.items.height, shop.events.height) == (2000, 800, 60_000)
    assert shop.events["user_id"].n_unique() == 2000


def test_nobody_takes_an_item_twice_and_nobodys_times_are_equal(shop: Shop) -> None:
    assert shop.events.select("user_id", "item_id").n_unique() == shop.events.height
    assert shop.events.select("user_id", "timestamp").n_unique() == shop.events.height


def test_events_are_in_time_order_within_the_days(shop: Shop) -> None:
    times = shop.events["timestamp"]
    assert times.is_sorted()
    assert times[-1] - times[0] <= 121 * 24 * 3600


def test_every_item_has_its_own_title_and_a_price(shop: Shop) -> None:
    named = shop.events.join(shop.items, on="item_id", how="left")
    assert named["title"].null_count() == 0
    assert shop.items["title"].n_unique() == 800
    assert shop.items["price"].to_numpy().min() >= 1


def test_nothing_is_taken_before_its_release(shop: Shop) -> None:
    midnight = 1_735_689_600  # 2025-01-01, the first day
    dated = shop.events.join(shop.items, on="item_id")
    assert (dated["timestamp"] >= midnight + dated["release_day"] * 24 * 3600).all()
    assert dated["release_day"].to_numpy().max() > 0


def test_the_ceiling_is_well_above_popularity(shop: Shop) -> None:
    ceiling = float(shop.ceiling(shop.last_events()).mean())
    popularity = popularity_ndcg(shop)
    assert 0.25 < ceiling < 0.5
    assert popularity < 0.4 * ceiling


def test_the_best_scores_are_probabilities_of_what_is_left(shop: Shop) -> None:
    last = shop.last_events().head(200)
    scores = shop.best_scores(last["user_id"].to_list(), times=last["timestamp"].to_list())
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-3)
    column = {item: position for position, item in enumerate(shop.items["item_id"])}
    for row, (user, target, _) in enumerate(last.iter_rows()):
        had = shop.events.filter((pl.col("user_id") == user) & (pl.col("item_id") != target))["item_id"]
        assert scores[row, [column[item] for item in had]].max() == 0
        assert scores[row, column[target]] > 0


def test_the_probabilities_are_calibrated(shop: Shop) -> None:
    """What the truth calls likely happens that often: the mean probability of the top item is its hit rate."""
    last = shop.last_events()
    scores = shop.best_scores(last["user_id"].to_list(), times=last["timestamp"].to_list())
    top = [shop.items["item_id"][int(position)] for position in scores.argmax(axis=1)]
    hits = np.mean(np.asarray(top) == last["item_id"].to_numpy())
    promised = float(scores.max(axis=1).mean())
    assert abs(hits - promised) < 3 * np.sqrt(promised * (1 - promised) / 2000)


def test_with_another_users_taste_the_ceiling_falls(shop: Shop) -> None:
    truth = shop.truth
    swapped = dataclasses.replace(
        truth, affinity=np.roll(truth.affinity, 1, axis=0), intents=np.roll(truth.intents, 1, axis=0)
    )
    last = shop.last_events()
    own = shop.ceiling(last).mean()
    others = dataclasses.replace(shop, truth=swapped).ceiling(last).mean()
    assert others < 0.75 * own


def test_users_of_one_taste_group_share_more_items(shop: Shop) -> None:
    users = {user: position for position, user in enumerate(shop.users["user_id"])}
    items = {item: position for position, item in enumerate(shop.items["item_id"])}
    had = np.zeros((2000, 800))
    had[[users[user] for user in shop.events["user_id"]], [items[item] for item in shop.events["item_id"]]] = 1
    shared = had @ had.T
    same = shop.truth.groups[:, None] == shop.truth.groups
    np.fill_diagonal(same, val=False)
    different = shop.truth.groups[:, None] != shop.truth.groups
    assert shared[same].mean() > 1.5 * shared[different].mean()


def test_the_category_before_tells_the_next_within_a_session(shop: Shop) -> None:
    pairs = (
        shop.events.join(shop.items.select("item_id", "category"), on="item_id", maintain_order="left")
        .sort("user_id", maintain_order=True)
        .with_columns(
            before=pl.col("category").shift(1).over("user_id"), gap=pl.col("timestamp").diff().over("user_id")
        )
        .drop_nulls()
        .with_columns(same=pl.col("before") == pl.col("category"))
    )
    within = pairs.filter(pl.col("gap") < 1800)["same"].mean()
    between = pairs.filter(pl.col("gap") >= 1800)["same"].mean()
    assert isinstance(within, float)
    assert isinstance(between, float)
    assert within > 0.5
    assert within > 1.5 * between


def test_items_rise_and_fall(shop: Shop) -> None:
    """The early and the late half of the log differ by far more than two random halves do."""
    items = {item: position for position, item in enumerate(shop.items["item_id"])}
    log = np.asarray([items[item] for item in shop.events["item_id"]])

    def distance(late: np.ndarray) -> float:
        first, second = (np.bincount(log[part], minlength=800) / part.sum() for part in (~late, late))
        return float(np.abs(first - second).sum() / 2)

    late = np.arange(len(log)) >= len(log) // 2
    shuffled = np.random.default_rng(0).permutation(late)
    assert distance(late) > 2 * distance(shuffled)


def test_a_held_out_event_that_was_had_before_counts_nothing(shop: Shop) -> None:
    last = shop.last_events().head(50)
    earlier = shop.events.join(last, on=["user_id", "item_id"], how="anti").join(last.select("user_id"), on="user_id")
    repeated = last.select("user_id", "timestamp").join(
        earlier.group_by("user_id").first().select("user_id", "item_id"), on="user_id"
    )
    assert shop.ceiling(repeated).max() == 0


def test_unknown_ids_and_times_outside_the_days_are_named(shop: Shop) -> None:
    with pytest.raises(DataError, match="no user_id 'nobody'"):
        shop.best_scores(["nobody"], times=[1_736_000_000])
    with pytest.raises(DataError, match="The shop is open from 1735689600"):
        shop.best_scores(["u0001"], times=[0])
    with pytest.raises(DataError, match="2 users and 1 times"):
        shop.best_scores(["u0001", "u0002"], times=[1_736_000_000])


@pytest.mark.parametrize("sizes", [{"events": 100}, {"users": 10}, {"items": 8}, {"days": 3}, {"users": 0}])
def test_sizes_that_do_not_fit_together_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="events lie between"):
        make_shop(**sizes)
