"""The page looked at light and dark, wide and narrow, with movement and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Page
from page_app import SmallService
from page_steps import TITLES, USER, listed, session, settle, show

CONTRAST = """(() => {
  const rgb = (text) => { const context = document.createElement('canvas').getContext('2d'); context.fillStyle = text;
    context.fillRect(0, 0, 1, 1); return [...context.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [.2126, .7152, .0722][place], 0);
  const behind = (one) => { for (let each = one; each; each = each.parentElement) {
    const colour = rgb(getComputedStyle(each).backgroundColor); if (colour[3] === 255) return colour; } return [255, 255, 255]; };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement, box = one.getBoundingClientRect();
    if (!walker.currentNode.textContent.trim() || !box.width || one.closest('.unseen, .skip, script, noscript, :disabled')) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faint.push(`${walker.currentNode.textContent.trim()} ${ratio.toFixed(2)}`);
  }
  return faint;
})()"""


@pytest.mark.parametrize("is_dark", [False, True])
def test_all_text_stands_out_enough_in_light_and_dark(
    browser: Page, service: SmallService, url: str, is_dark: bool
) -> None:
    show(browser, f"{url}#user={USER}", is_dark=is_dark)
    background = browser.run(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + Number(b), 0)"
    )
    assert (background < 200) == is_dark
    browser.click(".rows .row:nth-child(2) .add")
    browser.wait("document.querySelector('.changes')")
    settle(browser)
    browser.click(".rows .row:nth-child(2) .open")
    browser.wait("document.querySelector('.contributions li')")
    browser.press("u")
    browser.wait("document.querySelector('#user-list [role=option]')")
    browser.press("ArrowDown")
    assert browser.run(CONTRAST) == []
    browser.open(f"{url}#user={USER}&view=compare", width=1440, is_dark=is_dark)
    settle(browser)
    assert browser.run(CONTRAST) == []
    browser.open(f"{url}#user={USER}&where=x+%3C+1", width=1440, is_dark=is_dark)
    browser.wait("document.querySelector('.trouble')")
    assert browser.run(CONTRAST) == []
    browser.problems.clear()


def test_the_theme_can_be_chosen_and_is_remembered(browser: Page, service: SmallService, url: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + Number(b), 0)"
    browser.open(url, width=1440)
    browser.wait(f"{colour} > 600")
    for theme, is_shown in (("light", "> 600"), ("dark", "< 200")):
        browser.click("#theme")
        browser.wait(f"document.documentElement.dataset.theme === '{theme}' && {colour} {is_shown}")
    browser.open(url, width=1440)
    browser.wait(f"{colour} < 200")
    assert "dark" in browser.run("document.querySelector('#theme').getAttribute('aria-label')")
    browser.click("#theme")
    browser.wait(f"document.documentElement.dataset.theme === 'system' && {colour} > 600")


@pytest.mark.parametrize("width", [390, 768, 1000, 1280, 1440])
@pytest.mark.parametrize("place", ["", f"#user={USER}", f"#user={USER}&view=compare", session(*TITLES)])
def test_nothing_is_wider_than_the_window(
    browser: Page, service: SmallService, url: str, width: int, place: str, tmp_path: Path
) -> None:
    browser.open(url + place, width=width)
    if place:
        settle(browser)
    else:
        browser.wait("document.querySelectorAll('.ways .pick').length === 12")
    assert browser.run("document.documentElement.scrollWidth") <= width
    wider = """[...document.querySelectorAll('body *:not(.unseen, .skip)')].filter(one => {
        const box = one.getBoundingClientRect(); return box.width && (box.right > innerWidth + 1 || box.left < -1); })
        .map(one => one.outerHTML.slice(0, 80))"""
    assert browser.run(wider) == []
    cut = """[...document.querySelectorAll('button, .number, .rank, h1, h2, label, dt, dd')].filter(one => one.clientWidth
        && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflow !== 'visible').map(one => one.outerHTML.slice(0, 80))"""
    assert browser.run(cut) == []
    narrow = """[...document.querySelectorAll('.what')].map(one => one.getBoundingClientRect().width).filter(width => width && width < 85)"""
    assert browser.run(narrow) == []
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 15_000


@pytest.mark.parametrize("width", [390, 1000])
def test_where_there_is_no_room_beside_the_list_why_lies_over_it(
    browser: Page, service: SmallService, url: str, width: int
) -> None:
    show(browser, f"{url}#user={USER}", width=width)
    assert browser.run("document.querySelector('#why').getBoundingClientRect().width") == 0
    browser.click(".rows .row:nth-child(3) .open")
    browser.wait("document.querySelector('.contributions li')")
    box = browser.run(
        "(box => [box.left, box.right, box.bottom])(document.querySelector('#why').getBoundingClientRect())"
    )
    assert box[1] == width
    assert (box[0] == 0) == (width == 390)
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Close"
    browser.press("Escape")
    assert browser.run("document.querySelector('#why').getBoundingClientRect().width") == 0
    assert browser.run("document.activeElement.closest('.row').dataset.item") == listed(browser)[2]


@pytest.mark.parametrize("calm", [True, False])
def test_rows_move_unless_movement_is_unwanted(browser: Page, service: SmallService, url: str, calm: bool) -> None:
    show(browser, f"{url}#user={USER}", calm=calm)
    browser.run("""Element.prototype.animate = ((known) => function (...values) {
        window.moved = (window.moved ?? 0) + 1; return known.apply(this, values); })(Element.prototype.animate)""")
    browser.click(".rows .row:nth-child(1) .add")
    browser.wait("document.querySelector('.changes')")
    settle(browser)
    assert (browser.run("window.moved ?? 0") > 0) == (not calm)
