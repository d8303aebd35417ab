"""The page in a real browser, before a small service with titles of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import polars as pl
import pytest
from browser import Page, installed
from page_app import SmallService, served
from page_steps import TITLES

import shortlist as sl
from shortlist.data import read_dataset
from shortlist.data.synthetic_looks import make_looks
from shortlist.recommender import Recommender


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    """A shop with pictures, trained on hardly at all; one id has signs in it that mean something in an address."""
    made = make_looks(users=40, items=60, events=1_200, cold=8, seed=1)
    renamed = pl.col("item_id").replace("i0004", "i/4 & co?")
    items = made.items.drop("description").with_columns(renamed)
    titles = [TITLES.get(item, f"Thing {item[2:]}") for item in items["item_id"]]
    items = items.with_columns(title=pl.Series(titles), price=pl.Series([float(place) for place in range(60)]))
    schema = {"title": "title", "features": [{"name": "photo", "kind": "image", "owner": "item", "size": 8}]}
    dataset = read_dataset(made.events.with_columns(renamed), items=items, schema=schema)
    quick = sl.Training(epochs=2, batch_size=64, patience=None)
    retriever = sl.fit(sl.SASRec(embedding_dim=8, history=20), dataset, training=quick)
    ranker = sl.fit(sl.CrossAttention(embedding_dim=8, history=20), dataset, training=quick)
    return Recommender(retriever, ranker=ranker, candidates=40)


@pytest.fixture(scope="module")
def whole_service(recommender: Recommender) -> Iterator[tuple[SmallService, str]]:
    service = SmallService(recommender, depth=40)
    with served(service) as url:
        yield service, url


@pytest.fixture
def service(whole_service: tuple[SmallService, str]) -> Iterator[SmallService]:
    """The one that answers at ``url``, with no event stored yet."""
    yield whole_service[0]
    whole_service[0].events.clear()
    whole_service[0].delay_s, whole_service[0].index, whole_service[0].depth = 0.0, 1, 40
    whole_service[0].is_full = False


@pytest.fixture
def url(whole_service: tuple[SmallService, str]) -> str:
    return whole_service[1]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    command = installed()
    if command is None:
        pytest.skip("no Chromium is installed; apt-get install chromium brings one")
    with Page(command, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def browser(chromium: Page) -> Iterator[Page]:
    """A page that, when the test is over, has complained of nothing and asked nobody but this machine."""
    chromium.problems.clear()
    chromium.requested.clear()
    yield chromium
    assert chromium.problems == []
    assert {urlsplit(each).hostname for each in chromium.requested if not each.startswith("data:")} <= {
        "127.0.0.1",
        None,
    }
