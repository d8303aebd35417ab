"""What the page shows of an answer: titles, pictures, what moved, why an item is there, and the order before ranking."""

from __future__ import annotations

import json
from urllib.parse import quote

import polars as pl
import pytest
from browser import Page
from page_app import SmallService, served
from page_steps import ARABIC, HOSTILE, LONG, MINUS, TITLES, USER, answer, listed, session, settle, show, texts

import shortlist as sl
from shortlist.data import read_dataset
from shortlist.recommender import Recommender


def test_an_event_that_is_added_changes_the_list_and_every_move_is_marked(
    browser: Page, service: SmallService, url: str
) -> None:
    show(browser, f"{url}#user={USER}")
    before = listed(browser)
    browser.click(".rows .row:nth-child(2) .add")
    browser.wait("document.querySelector('.changes')")
    settle(browser)
    assert [event["item_id"] for event in service.events[USER]] == [before[1]]
    now = listed(browser)
    assert now == answer(service, user_id=USER)
    assert before[1] not in now
    marks = browser.run(
        "[...document.querySelectorAll('.rows .row')].map(row => row.querySelector('.marks').textContent)"
    )
    for place, (item, mark) in enumerate(zip(now, marks, strict=True)):
        old = before.index(item) if item in before else None
        assert mark == ("new" if old is None else "" if old == place else f"was {old + 1}")
    counts = dict(reversed(text.split(" ")) for text in texts(browser, ".changes .count"))
    assert int(counts["gone"]) == len(set(before) - set(now)) == int(counts["new"])
    assert texts(browser, "#history li .title")[0] in browser.run("document.querySelector('.changes').textContent")
    browser.click("[aria-label='Hide what changed']")
    assert texts(browser, ".changes, .mark") == []


def test_why_is_what_the_recommender_explains(browser: Page, service: SmallService, url: str) -> None:
    show(browser, f"{url}#user={USER}")
    item = listed(browser)[3]
    browser.click(".rows .row:nth-child(4) .open")
    browser.wait("document.querySelector('.contributions li')")
    if browser.run("document.querySelector('.reasons .link') !== null"):
        browser.click(".reasons .link")
    wanted = service.recommender.explain(USER, item)
    assert texts(browser, ".contributions .title") == [
        title or name for name, title in wanted.select("item_id", "title").iter_rows()
    ]
    shown = [float(text.replace(MINUS, "-")) for text in texts(browser, ".contributions .number")]
    assert shown == pytest.approx(wanted["contribution"].to_list(), abs=6e-4)
    sides = """[...document.querySelectorAll('.effect')].map(one => { const bar = one.querySelector('i').getBoundingClientRect(),
        axis = one.querySelector('b').getBoundingClientRect(); return Math.round(bar.x + bar.width / 2 - axis.x) })"""
    for value, side in zip(wanted["contribution"], browser.run(sides), strict=True):
        assert side * value >= 0
    assert "What CrossAttention" in browser.run("document.querySelector('.reasons').textContent")
    assert "rank 4" in browser.run("document.querySelector('#why .note').textContent")


@pytest.mark.parametrize("depth", [40, None])
def test_before_and_after_show_both_orders_with_a_line_for_each_item_in_both(
    browser: Page, service: SmallService, url: str, depth: int | None
) -> None:
    service.depth = depth
    show(browser, f"{url}#user={USER}&view=compare&k=8")
    told = service._answer({"user_id": USER, "k": 8})
    before, after = [item["item_id"] for item in told["retrieved"]], [item["item_id"] for item in told["items"]]
    assert listed(browser, ".before:not(.deeper) .row") == before[:8]
    assert listed(browser) == after
    assert listed(browser, ".deeper .row") == [item for item in before[8:] if item in after]
    assert set(listed(browser, ".before .out")) == set(before[:8]) - set(after)
    browser.wait("document.querySelector('.lines path')")
    assert set(listed(browser, ".lines path")) == set(before) & set(after)
    moved = browser.run(
        "[...document.querySelectorAll('.rows .move')].map(one => (one.firstElementChild ?? one).textContent)"
    )
    for place, (item, text) in enumerate(zip(after, moved, strict=True)):
        old = before.index(item) if item in before else None
        assert text == (
            ">8" if old is None else "=" if old == place else ("▲" if old > place else "▼") + str(abs(old - place))
        ), item
    browser.click("[name=view][value=list]")
    browser.wait("document.querySelector('.list')")
    assert "view" not in browser.run("location.hash")


def test_titles_are_text_whatever_is_in_them(browser: Page, service: SmallService, url: str) -> None:
    show(browser, url + session(*TITLES))
    shown = texts(browser, "#history .title")
    assert shown == [title or item for item, title in reversed(TITLES.items())]
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('.title *').length") == 0
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    direction = (
        "getComputedStyle([...document.querySelectorAll('.title')].find(one => one.textContent === {})).direction"
    )
    assert browser.run(direction.format(json.dumps(ARABIC))) == "rtl"
    assert browser.run(direction.format(json.dumps("Slashed"))) == "ltr"
    long = f"[...document.querySelectorAll('#history .title')].find(one => one.textContent === {json.dumps(LONG)})"
    assert browser.run(f"{long}.title") == LONG
    assert browser.run(f"{long}.getBoundingClientRect().height") < 60
    browser.press("/")
    browser.type("onerror")
    browser.wait("document.querySelectorAll('#search-list [role=option]').length === 1")
    assert browser.run("document.querySelector('#search-list .title').textContent") == HOSTILE
    browser.press("Enter")
    browser.wait("document.querySelector('.changes')")
    assert HOSTILE in browser.run("document.querySelector('.changes').textContent")
    assert browser.run("window.hacked") is None


def test_pictures_are_shown_where_there_are_some(browser: Page, service: SmallService, url: str) -> None:
    show(browser, url + session("i/4 & co?"))
    browser.wait(
        "[...document.querySelectorAll('#history img, .rows img')].every(image => image.complete && image.naturalWidth)"
    )
    assert browser.run("document.querySelectorAll('.rows img').length") == 10
    assert f"items/{quote('i/4 & co?', safe='')}/image" in browser.run("document.querySelector('#history img').src")


def test_a_recommender_without_a_ranker_has_no_order_to_compare(browser: Page, recommender: Recommender) -> None:
    service = SmallService(Recommender(recommender.funnel.retriever))
    with served(service) as url:
        show(browser, f"{url}#user={USER}&view=compare")
        assert browser.run("document.querySelector('#views').hidden")
        assert texts(browser, ".compare, .move") == []
        assert listed(browser) == answer(service, user_id=USER)
        browser.open("about:blank", width=1440)


def test_ids_larger_than_a_browser_counts_keep_all_their_digits(browser: Page) -> None:
    large = [2**53 + 1, 2**53 + 3, 2**62 + 1]
    events = pl.DataFrame({"user_id": [1, 1, 2], "item_id": large})
    service = SmallService(Recommender(sl.fit(sl.ItemKNN(), read_dataset(events))))
    with served(service) as url:
        browser.open(f"{url}#session=", width=1440)
        settle(browser)
        assert sorted(listed(browser)) == sorted(map(str, large))
        browser.click(".rows .row .add")
        browser.wait("document.querySelector('#history li.own')")
        assert int(browser.run("location.hash").split("=")[1]) in large
        assert texts(browser, "#answer > .note") == []
        browser.open("about:blank", width=1440)
