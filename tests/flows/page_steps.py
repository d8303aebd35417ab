"""What tests of the page do with it again and again: open it, wait for it, and read what it shows."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from browser import Page
from page_app import SmallService

HOSTILE = '<img src="x" onerror="window.hacked = 1"><b>bold</b> & "quoted" \'too\''
ARABIC = "مصباح أزرق صغير للقراءة"
LONG = "An item of which far too much is told, " * 12
TITLES = {"i0000": HOSTILE, "i0001": ARABIC, "i0002": LONG, "i0003": None, "i/4 & co?": "Slashed"}
USER = "u0007"
MINUS = "\N{MINUS SIGN}"


def listed(browser: Page, selector: str = ".rows .row") -> list[str]:
    """The items of the rows, in order."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(row => row.dataset.item)"
    )
    return found


def texts(browser: Page, selector: str) -> list[str]:
    found: list[str] = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)"
    )
    return found


def show(browser: Page, url: str, *, width: int = 1440, is_dark: bool = False, calm: bool = True) -> None:
    """Open an address that asks for somebody, and wait for the answer, the history and the pictures."""
    browser.open(url, width=width, is_dark=is_dark, calm=calm)
    settle(browser)


def settle(browser: Page) -> None:
    browser.wait("document.querySelector('.rows .row') && document.querySelector('#history li') && "
                 "document.querySelector('#shortlist').getAttribute('aria-busy') !== 'true' && "
                 "!document.querySelector('.row .picture:empty')")  # fmt: skip


def answer(service: SmallService, **asked: Any) -> list[str]:
    """What the recommender itself says."""
    return [item["item_id"] for item in service._answer({"k": 10} | asked)["items"]]


def session(*items: str) -> str:
    return "#" + "&".join(f"session={quote(item, safe='')}" for item in items)
