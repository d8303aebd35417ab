"""The page by keys alone, and what it tells a program that reads it aloud."""

from __future__ import annotations

import json

from browser import Page
from page_app import SmallService
from page_steps import USER, answer, listed, session, settle, show


def test_everything_can_be_done_by_keys(browser: Page, service: SmallService, url: str) -> None:
    browser.open(url, width=1440)
    browser.wait("document.querySelectorAll('.ways .pick').length === 12")
    browser.press("u")
    browser.type(USER)
    browser.press("Enter")
    settle(browser)
    before = listed(browser)
    for _ in range(40):
        browser.press("Tab")
        if browser.run("document.activeElement.matches('.rows .open')"):
            break
    here = "document.activeElement.closest('.row')?.dataset.item"
    assert browser.run(here) == before[0]
    browser.press("ArrowDown", "ArrowDown")
    assert browser.run(here) == before[2]
    browser.press("End")
    assert browser.run(here) == before[-1]
    browser.press("Home", "ArrowDown", "Enter")
    browser.wait("document.querySelector('.contributions li')")
    assert browser.run(here) == before[1]
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('aria-label')").endswith("as an event")
    browser.press("Escape")
    assert browser.run("document.querySelector('#why').classList.contains('opened')") is False
    assert browser.run(here) == before[1]
    browser.press("a")
    browser.wait("document.querySelector('.changes')")
    settle(browser)
    assert [event["item_id"] for event in service.events[USER]] == [before[1]]
    assert browser.run("document.activeElement.matches('.rows .open')")
    browser.press("v")
    browser.wait("document.querySelector('.compare')")
    browser.press("?")
    browser.wait("document.querySelector('dialog[open]')")
    browser.press("Escape")
    browser.wait("!document.querySelector('dialog')")
    browser.press("/")
    assert browser.run("document.activeElement.id") == "search"


def test_a_session_is_put_in_order_by_keys(browser: Page, service: SmallService, url: str) -> None:
    browser.open(f"{url}#session=", width=1440)
    settle(browser)
    for text in ("Slash", "Thing 010"):
        browser.press("/")
        browser.run("document.querySelector('#search').select()")
        browser.type(text)
        browser.press("Enter")
        browser.wait(f"document.querySelector('#history .title')?.textContent.startsWith({json.dumps(text)})")
        browser.press("Escape")
        browser.run("document.activeElement.blur()")
    settle(browser)
    said = "new URLSearchParams(location.hash.slice(1)).getAll('session')"
    assert browser.run(said) == ["i/4 & co?", "i0010"]
    browser.run("document.querySelector('#history li.own').focus()")
    browser.press("Alt+ArrowDown")
    browser.wait(f"{said}[0] === 'i0010'")
    settle(browser)
    assert listed(browser) == answer(service, events=[{"item_id": "i0010"}, {"item_id": "i/4 & co?"}])
    assert browser.run("document.activeElement.querySelector('.title').textContent") == "Thing 010"
    browser.press("ArrowUp", "Delete")
    browser.wait(f"{said}.length === 1")
    assert browser.run("document.activeElement.querySelector('.title').textContent") == "Thing 010"
    browser.press("Delete")
    browser.wait("document.querySelector('#history .pick')")
    assert browser.run("document.activeElement.id") == "search"


def test_every_control_has_a_name_and_every_answer_is_announced(browser: Page, service: SmallService, url: str) -> None:
    show(browser, url + session("i0010", "i0011"))
    browser.click(".rows .row:nth-child(2) .open")
    browser.wait("document.querySelector('.contributions li')")
    nameless = """[...document.querySelectorAll('button, input, summary, a')].filter(one => !(one.getAttribute('aria-label')
        || one.textContent.trim() || one.labels?.length)).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.run(nameless) == []
    roles = "['told', 'trouble'].map(id => document.getElementById(id).getAttribute('role')).join()"
    assert browser.run(roles) == "status,alert"
    broken = """[...document.querySelectorAll('[aria-controls], [aria-labelledby], [aria-describedby]')].filter(one =>
        ['aria-controls', 'aria-labelledby', 'aria-describedby'].some(name => one.hasAttribute(name)
            && !document.getElementById(one.getAttribute(name)))).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.run(broken) == []
    assert browser.run("document.querySelectorAll('[onclick], [style*=expression]').length") == 0
    doubled = "(all => all.length - new Set(all).size)([...document.querySelectorAll('[id]')].map(one => one.id))"
    assert browser.run(doubled) == 0
