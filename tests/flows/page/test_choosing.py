"""On the page somebody is chosen, a session put together and options set, and the shortlist is the recommender's."""

from __future__ import annotations

import json

from browser import Page
from page_app import SmallService
from page_steps import MINUS, USER, answer, listed, settle, show, texts


def test_a_user_is_picked_and_the_shortlist_is_the_recommenders(browser: Page, service: SmallService, url: str) -> None:
    browser.open(url, width=1440)
    browser.wait("document.querySelectorAll('.ways .pick').length === 12")
    assert browser.run("document.activeElement === document.body")
    browser.click("#user")
    browser.wait("document.querySelectorAll('#user-list [role=option]').length === 20")
    browser.type("u0007")
    browser.wait("document.querySelectorAll('#user-list [role=option]').length === 1")
    browser.click("#user-list [role=option]")
    settle(browser)
    assert browser.run("location.hash") == f"#user={USER}"
    assert browser.run("document.querySelector('h1').textContent") == f"Shortlist for user {USER}"
    assert listed(browser) == answer(service, user_id=USER)
    wanted = service._answer({"user_id": USER, "k": 10})
    assert texts(browser, ".rows .number") == [
        f"{item['score']:.{2 if abs(item['score']) >= 1 else 3}f}".replace("-", MINUS) for item in wanted["items"]
    ]
    assert "a known user" in browser.run("document.querySelector('#source').textContent")
    assert texts(browser, "#stages dt") == [*wanted["stages_ms"], "all", "to here"]
    assert "ab12cd34.1" in browser.run("document.querySelector('#strip').textContent")
    past = service.recommender.dataset.events
    row = int(service.recommender.dataset.encoders.users.encode([USER])[0])
    assert len(texts(browser, "#history li")) == int(past.lengths[row])


def test_a_session_is_clicked_together_and_undone(browser: Page, service: SmallService, url: str) -> None:
    browser.open(url, width=1440)
    browser.wait("document.querySelectorAll('.ways .pick').length === 12")
    browser.click("[name=mode][value=session]")
    settle(browser)
    assert listed(browser) == answer(service)
    assert "popularity" in browser.run("document.querySelector('#source').textContent")
    browser.click("#history li:nth-child(3) button")
    browser.wait("document.querySelectorAll('#history li.own').length === 1")
    settle(browser)
    (first,) = browser.run("new URLSearchParams(location.hash.slice(1)).getAll('session')")
    assert listed(browser) == answer(service, events=[{"item_id": first}])
    second = listed(browser)[0]
    browser.click(".rows .row:nth-child(1) .add")
    browser.wait("document.querySelectorAll('#history li.own').length === 2")
    settle(browser)
    assert listed(browser) == answer(service, events=[{"item_id": first}, {"item_id": second}])
    assert not service.events
    browser.click(".changes button")
    browser.wait("document.querySelectorAll('#history li.own').length === 1")
    settle(browser)
    assert listed(browser) == answer(service, events=[{"item_id": first}])


def test_a_view_is_opened_again_by_its_address_and_left_by_the_back_button(
    browser: Page, service: SmallService, url: str
) -> None:
    asked = {"k": 5, "where": "price > 20", "diversity": 0.4, "exclude_seen": False}
    show(browser, f"{url}#user={USER}&k=5&where=price+%3E+20&diversity=0.4&seen=1")
    assert listed(browser) == answer(service, user_id=USER, **asked)
    fields = "['user', 'k', 'where', 'diversity'].map(id => document.getElementById(id).value).join('|')"
    assert browser.run(fields) == f"{USER}|5|price > 20|0.4"
    assert browser.run("document.getElementById('seen').checked")
    browser.click("[name=mode][value=session]")
    browser.wait("location.hash.startsWith('#session')")
    settle(browser)
    browser.run("history.back()")
    browser.wait(f"document.querySelector('h1').textContent.endsWith({json.dumps(USER)})")
    settle(browser)
    assert listed(browser) == answer(service, user_id=USER, **asked)


def test_options_ask_anew(browser: Page, service: SmallService, url: str) -> None:
    show(browser, f"{url}#user={USER}")
    browser.click("#seen")
    browser.wait("location.hash.includes('seen=1')")
    browser.run("document.querySelector('#where').focus()")
    browser.type("price < 30")
    browser.press("Enter")
    browser.wait("location.hash.includes('where')")
    browser.run("document.querySelector('#k').select()")
    browser.type("7")
    browser.wait("document.querySelectorAll('.rows .row').length === 7")
    settle(browser)
    assert listed(browser) == answer(service, user_id=USER, k=7, where="price < 30", exclude_seen=False)
    said = json.loads(browser.run("document.querySelector('.request pre').textContent").split("-d '")[1].rstrip("'"))
    assert said == {"user_id": USER, "k": 7, "detail": True, "where": "price < 30", "exclude_seen": False}
    browser.run("document.querySelector('#diversity').focus()")
    browser.press("End")
    browser.wait("location.hash.includes('diversity=1') && document.querySelector('.changes')")
    settle(browser)
    assert listed(browser) == answer(service, user_id=USER, k=7, where="price < 30", exclude_seen=False, diversity=1.0)
