"""A seed to a small made-up shop: events, items and users, with the truth behind them.

Every event is drawn from a choice model that the shop keeps, so the best ranking that anybody could give is known.
:meth:`Shop.ceiling` measures it, and a recommender's NDCG can be held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from shortlist.data.synthetic_truth import Bools, Floats, Ints, Truth, make_items, make_users
from shortlist.errors import DataError, SettingsError

OPENING = 1_735_689_600  # 2025-01-01 00:00 UTC, seconds since 1970
DAY_S = 86_400
SESSION_GAP_S = 1_800  # within a session the gaps are shorter, between sessions they are not
SESSION_LENGTH = 8.0  # mean events of a session
MIN_EVENTS = 5  # of each user


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop's data as a file would hold it, and the truth that made it.

    ``events`` (user_id, item_id, timestamp in seconds since 1970) is in time order; nobody takes an item twice, and
    a user's times are all different. ``items`` has item_id, title, category, brand, colour, price and release_day;
    ``users`` has user_id, age_group and country.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    truth: Truth

    def last_events(self) -> pl.DataFrame:
        """The last event of each user: the usual held-out set."""
        return self.events.group_by("user_id", maintain_order=True).last()

    def best_scores(self, user_ids: Sequence[str], *, times: Sequence[int]) -> Floats:
        """How probable each item is as a user's event at a time, given all of that user's events before it.

        One row for each of ``user_ids`` (B,) and ``times`` (B,), one column for each row of ``items``: (B, I). No
        ranking has a higher expected NDCG than sorting by these; 0 means seen already or not yet on sale. Ids that
        the shop does not have and times outside its days are a :class:`DataError`.
        """
        users = _positions(user_ids, self.users["user_id"])
        asked = np.asarray(times, dtype=np.int64)
        days = (asked - OPENING) // DAY_S
        if len(asked) != len(users):
            raise DataError(f"best_scores got {len(users)} users and {len(asked)} times. Give one time for each user.")
        if len(days) and not 0 <= days.min() <= days.max() < len(self.truth.trend):
            raise DataError(
                f"best_scores got times from {asked.min()} to {asked.max()}. "
                f"The shop is open from {OPENING} to {OPENING + len(self.truth.trend) * DAY_S - 1}."
            )
        log = self.events.sort("user_id", maintain_order=True)
        log_users = _positions(log["user_id"], self.users["user_id"])
        log_items = _positions(log["item_id"], self.items["item_id"])
        log_times = log["timestamp"].to_numpy()
        starts = np.searchsorted(log_users, users)
        lengths = np.searchsorted(log_users, users, side="right") - starts  # (B,)
        rows = np.repeat(np.arange(len(users)), lengths)
        events = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        known = log_times[events] < asked[rows]
        rows, events = rows[known], events[known]
        seen = np.zeros((len(users), self.items.height), dtype=np.bool_)
        seen[rows, log_items[events]] = True
        last = np.full(len(users), -1)
        last[rows] = events  # of a repeated row the last, that is the latest, event stays
        in_session = (last >= 0) & (asked - log_times[last] < SESSION_GAP_S)
        intents = np.where(in_session, self.truth.categories[log_items[last]], -1)
        return self.truth.choice_probs(users, days=days, intents=intents, seen=seen)

    def ceiling(self, held_out: pl.DataFrame, *, k: int = 10) -> Floats:
        """NDCG@k of the best possible ranking for each event of ``held_out`` (user_id, item_id, timestamp).

        All items that the user has not had are ranked by :meth:`best_scores`. Returns (B,); its mean is what a
        recommender that knew every taste would reach.
        """
        scores = self.best_scores(held_out["user_id"].to_list(), times=held_out["timestamp"].to_list())
        targets = _positions(held_out["item_id"], self.items["item_id"])
        own = scores[np.arange(len(scores)), targets][:, None]
        ranks = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2  # (B,) 0 is the best
        gains = np.where((ranks < k) & (own[:, 0] > 0), 1 / np.log2(ranks + 2), 0)
        return gains.astype(np.float32)


def make_shop(*, users: int = 2_000, items: int = 800, events: int = 60_000, days: int = 120, seed: int = 0) -> Shop:
    """Make a shop with exactly these numbers of users, items and events; the same seed makes the same shop.

    Users lie around a few taste groups, each with its own variation; items rise and fall, and some are released along
    the way; a session stays near one category for a while. It keeps a (users, items) table, so it is for small shops.
    Numbers that leave users too few or too many events are a :class:`SettingsError`.

    >>> shop = make_shop(users=40, items=100, events=400, days=30, seed=1)
    >>> shop.events.columns, shop.events.height
    (['user_id', 'item_id', 'timestamp'], 400)
    >>> shop.items.select(shop.items["title"].is_unique().all()).item()
    True
    """
    most = min(items // 4, days)  # so that nobody empties the shop, and every session finds a free half day
    if min(users, items, days) < 1 or not users * MIN_EVENTS <= events <= users * most // 2:
        raise SettingsError(
            f"make_shop got users={users}, items={items}, events={events}, days={days}. With these users, items and "
            f"days, events lie between {users * MIN_EVENTS} and {users * most // 2}: change events, or the others."
        )
    generator = np.random.default_rng(seed)
    item_frame, styles, levels = make_items(generator, items, days)
    user_frame, truth = make_users(generator, users, days, item_frame, styles, levels)
    counts = _event_counts(generator, users, events, most)
    times, begins = _event_times(generator, counts, days)
    chosen = _choose_items(generator, truth, counts, times, begins)
    order = np.argsort(times, kind="stable")
    log = pl.DataFrame(
        {
            "user_id": user_frame["user_id"].gather(np.repeat(np.arange(users), counts)[order]),
            "item_id": item_frame["item_id"].gather(chosen[order]),
            "timestamp": times[order],
        }
    )
    return Shop(log, item_frame, user_frame, truth)


def _event_counts(generator: np.random.Generator, users: int, events: int, most: int) -> Ints:
    """How many events each user has (U,): skewed, from ``MIN_EVENTS`` to ``most``, ``events`` in all."""
    activity = generator.lognormal(sigma=0.7, size=users)
    counts = np.full(users, MIN_EVENTS)
    while missing := events - int(counts.sum()):
        room = activity * (counts < most)
        counts = np.minimum(counts + generator.multinomial(missing, room / room.sum()), most)
    return counts


def _event_times(generator: np.random.Generator, counts: Ints, days: int) -> tuple[Ints, Bools]:
    """The time of every event (E,), user by user and rising, and whether it begins a session (E,).

    Sessions begin in the morning or the evening, at most one in each. The longest has 60 events at most 5 minutes
    apart, so it ends at least half an hour before the next may begin.
    """
    users = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = (position % 60 == 0) | (generator.random(len(users)) < 1 / SESSION_LENGTH)
    sessions = np.bincount(users[begins], minlength=len(counts))  # (U,)
    joined = np.where(generator.random(len(counts)) < 0.7, 0, generator.integers(0, days // 2 + 1, size=len(counts)))
    keys = generator.random((len(counts), 2 * days))
    keys[np.arange(2 * days) < 2 * joined[:, None]] = 2  # half days before a user joined come last
    ranks = np.argsort(np.argsort(keys, axis=1), axis=1)
    half_days = np.nonzero(ranks < sessions[:, None])[1]  # of each session, user by user and rising
    opens = np.where(half_days % 2 == 0, 7.0, 17.5) + 5 * generator.random(len(half_days))
    start_s = OPENING + half_days // 2 * DAY_S + (opens * 3600).astype(np.int64)
    gap_s = np.clip(generator.exponential(90, size=len(users)), 5, 300).astype(np.int64)
    elapsed = np.cumsum(np.where(begins, 0, gap_s))
    session = np.cumsum(begins) - 1  # (E,)
    return start_s[session] + elapsed - elapsed[begins][session], begins


def _choose_items(generator: np.random.Generator, truth: Truth, counts: Ints, times: Ints, begins: Bools) -> Ints:
    """Draw the item of every event (E,): all users' first events together, then all second ones, and so on."""
    offsets = np.cumsum(counts) - counts
    seen = np.zeros((len(counts), len(truth.categories)), dtype=np.bool_)
    chosen = np.zeros(len(times), dtype=np.int64)
    for step in range(int(counts.max())):
        users = np.flatnonzero(counts > step)
        events = offsets[users] + step
        intents = np.where(begins[events], -1, truth.categories[chosen[events - 1]])
        probs = truth.choice_probs(users, days=(times[events] - OPENING) // DAY_S, intents=intents, seen=seen[users])
        edges = np.cumsum(probs, axis=1)  # (B, I)
        point = generator.random((len(users), 1), dtype=np.float32) * edges[:, -1:]
        point = np.minimum(point, np.nextafter(edges[:, -1:], np.float32(0)))
        chosen[events] = (edges <= point).sum(axis=1)  # the first edge above the point has a probability above 0
        seen[users, chosen[events]] = True
    return chosen


def _positions(ids: Sequence[str] | pl.Series, known: pl.Series) -> Ints:
    """Where each id stands among the known ones."""
    table = {outside_id: position for position, outside_id in enumerate(known)}
    missing = [outside_id for outside_id in ids if outside_id not in table]
    if missing:
        raise DataError(
            f"The shop has no {known.name} {missing[0]!r} ({len(missing)} ids are unknown). Use its own ids."
        )
    return np.fromiter((table[outside_id] for outside_id in ids), dtype=np.int64, count=len(ids))
