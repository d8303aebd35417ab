"""The page before services that refuse, are full, away, slow, guarded or exchanged, and before the whole one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import urlsplit

from browser import Page
from page_app import SmallService, listening_to, served
from page_steps import TITLES, USER, answer, listed, settle, show, texts

from shortlist.recommender import Recommender
from shortlist.service import ServiceSettings
from shortlist.service.app import create_app


def test_what_the_service_refuses_is_told_in_its_words(browser: Page, service: SmallService, url: str) -> None:
    browser.open(f"{url}#user={USER}&where=prise+%3C+3", width=1440)
    browser.wait("document.querySelector('.trouble')")
    told = browser.run("document.querySelector('#trouble').textContent")
    assert "Did you mean 'price'?" in told
    assert browser.run("document.querySelector('#trouble').getAttribute('role')") == "alert"
    browser.run("document.querySelector('#where').focus()")
    browser.run("document.querySelector('#where').value = ''")
    browser.type("price < 30")
    browser.press("Enter")
    settle(browser)
    assert texts(browser, ".trouble") == []
    assert all("400" in problem for problem in browser.problems)
    browser.problems.clear()


def test_an_event_that_is_not_stored_is_no_event(browser: Page, service: SmallService, url: str) -> None:
    service.is_full = True
    show(browser, f"{url}#user={USER}")
    assert "Answered without recent events" in browser.run("document.querySelector('#answer').textContent")
    before = listed(browser)
    browser.click(".rows .row:nth-child(2) .add")
    browser.wait("document.querySelector('.refused')")
    assert "The event was not stored. The disk is full." in browser.run("document.querySelector('#told').textContent")
    assert listed(browser) == before
    assert texts(browser, ".changes") == []
    assert all("507" in problem for problem in browser.problems)
    browser.problems.clear()


def test_a_service_that_is_away_is_asked_again(browser: Page, recommender: Recommender) -> None:
    service = SmallService(recommender)
    with served(service) as url:
        show(browser, f"{url}#user={USER}")
    browser.click("#seen")
    browser.wait("document.querySelector('.trouble')")
    assert "cannot be reached" in browser.run("document.querySelector('#trouble').textContent")
    assert browser.problems
    browser.problems.clear()
    with served(service, port=urlsplit(url).port or 0):
        browser.click(".trouble button")
        settle(browser)
        assert listed(browser) == answer(service, user_id=USER, exclude_seen=False)
        browser.open("about:blank", width=1440)


def test_a_token_is_asked_for_kept_in_the_tab_and_sent(browser: Page, recommender: Recommender) -> None:
    service = SmallService(recommender, token="the right one")
    with served(service) as url:
        browser.open(f"{url}#user={USER}", width=1440)
        browser.wait("document.querySelector('dialog #token') === document.activeElement")
        browser.type("a wrong one")
        browser.press("Enter")
        browser.wait("document.querySelector('dialog label')?.textContent === 'Another token'")
        browser.wait("document.querySelector('dialog #token') === document.activeElement")
        browser.type("the right one")
        browser.press("Enter")
        settle(browser)
        assert listed(browser) == answer(service, user_id=USER)
        assert browser.run("Object.values(sessionStorage).join() + '/' + document.cookie") == "the right one/"
        browser.wait("document.querySelector('.rows img')?.naturalWidth")
        assert browser.run("document.querySelector('.rows img').src").startswith("data:image/png;base64,")
        assert "the right one" not in "".join(browser.requested)
        assert all("401" in problem for problem in browser.problems)
        browser.problems.clear()
        browser.click("#strip button")
        browser.wait("document.querySelector('dialog #token')")
        browser.press("Escape")
        browser.wait("document.querySelector('.trouble')")
        assert "needs a token" in browser.run("document.querySelector('#trouble').textContent")
        browser.problems.clear()
        browser.open("about:blank", width=1440)


def test_a_slow_answer_is_waited_for_in_sight(browser: Page, service: SmallService, url: str) -> None:
    service.delay_s = 0.8
    browser.open(f"{url}#user={USER}", width=1440)
    browser.wait("document.querySelector('.skeleton') && !document.querySelector('#progress').hidden")
    assert browser.run("document.querySelector('#shortlist').getAttribute('aria-busy')") == "true"
    assert browser.run("document.querySelector('h1').textContent").endswith(USER)
    settle(browser)
    assert texts(browser, ".skeleton") == []
    assert browser.run("document.querySelector('#progress').hidden")


def test_only_the_last_question_is_answered(browser: Page, service: SmallService, url: str) -> None:
    show(browser, f"{url}#user={USER}")
    service.delay_s = 0.3
    browser.click("#seen")
    browser.click("#seen")
    browser.wait("document.querySelector('#shortlist').getAttribute('aria-busy') === 'true'")
    settle(browser)
    assert listed(browser) == answer(service, user_id=USER)


def test_another_version_is_noticed(browser: Page, service: SmallService, url: str) -> None:
    show(browser, f"{url}#user={USER}")
    assert texts(browser, ".newer") == []
    service.index = 2
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    browser.wait("document.querySelector('.newer button')")
    browser.click(".newer button")
    browser.wait("!document.querySelector('.newer') && document.querySelector('.changes')")
    assert "the list is the same" in browser.run("document.querySelector('.changes').textContent")


def test_the_whole_service_is_looked_at_through_it(browser: Page, recommender: Recommender, tmp_path: Path) -> None:
    token = hashlib.sha256(b"let me see").hexdigest()
    (tmp_path / "tokens.toml").write_text(
        f'[[token]]\nname = "me"\nsha256 = "{token}"\nrights = ["recommend", "write", "admin"]\n'
    )
    recommender.save(tmp_path / "bundle")
    app = create_app(ServiceSettings(bundle=tmp_path / "bundle", tokens=tmp_path / "tokens.toml"))
    with listening_to(app) as url:
        browser.open(f"{url}#user={USER}", width=1440)
        browser.wait("document.querySelector('dialog[open] input')")
        browser.run("document.querySelector('dialog[open] input').focus()")
        browser.type("let me see")
        browser.press("Enter")
        settle(browser)
        (wanted,) = recommender.answers([USER], k=10)
        ids = recommender.dataset.encoders.items.decode(wanted.stages.ranked.items[0].numpy()).tolist()
        assert listed(browser) == ids
        browser.click(".rows .row .add")
        browser.wait(f"document.querySelector('.rows .row').dataset.item !== {json.dumps(ids[0])}")
        settle(browser)
        assert ids[0] not in listed(browser)
        assert texts(browser, "#history li")[0].startswith("Thing") or ids[0] in TITLES
    browser.problems.clear()  # a token was missing at first
