"""``shortlist report`` from a bundle to a page, and the page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Page, installed

from shortlist.errors import DataError, SettingsError

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def page(shop_files: Any, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("report") / "report.html"
    result = run("report", shop_files.bundle, "--out", out)
    assert result.exception is None, result.output
    for words in ("Where held-out items are lost", "held out", "top 10 after re-ranking", "tail", "report.html"):
        assert words in result.output
    return out


def test_the_report_as_json_holds_the_stages_and_the_diagnosis(shop_files: Any, run: Run, tmp_path: Path) -> None:
    result = run("report", shop_files.bundle, "--out", tmp_path / "report.json", "--metrics", "ndcg@5", "--json")
    found = json.loads(result.stdout)
    assert [stage["name"] for stage in found["stages"]] == [
        "held out", "catalogue", "allowed", "retrieved", "unranked", "ranked",
    ]  # fmt: skip
    assert all(0 <= stage["recall"]["low"] <= stage["recall"]["high"] <= 1 for stage in found["stages"])
    assert {"depth", "speed", "reliability", "popularity", "training", "items", "examples"} <= set(found["diagnosis"])
    assert json.loads((tmp_path / "report.json").read_text())["stages"] == found["stages"]


def test_a_page_of_another_kind_and_a_bundle_without_a_held_out_part_are_refused(
    shop_files: Any, run: Run, tmp_path: Path
) -> None:
    refused = run("report", shop_files.bundle, "--out", tmp_path / "report.pdf").exception
    assert isinstance(refused, SettingsError)
    assert "does not end in .html or .json" in str(refused)
    run("train", shop_files.events, "--retriever", "popularity", "--set", 'data.split="none"',
        "--out", tmp_path / "all.bundle")  # fmt: skip
    refused = run("report", tmp_path / "all.bundle", "--out", tmp_path / "a.html").exception
    assert isinstance(refused, DataError)
    assert "Give a file of later events" in str(refused)


@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (390, True)])
def test_the_page_is_whole_in_a_browser(page: Path, width: int, is_dark: bool, tmp_path: Path) -> None:
    command = installed()
    if command is None:
        pytest.skip("no Chromium is installed; apt-get install chromium brings one")
    with Page(command, tmp_path / "profile") as browser:
        browser.open(page, width=width, is_dark=is_dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        sections = browser.run("[...document.querySelectorAll('section')].map(s => s.id).join(' ')")
        assert sections == "funnel stages segments closer examples about"
        assert browser.run("document.querySelectorAll('figure svg').length") == 7
        assert browser.run("document.querySelectorAll('article').length") >= 2
        wider = """[...document.querySelectorAll('main *:not(.scroll *):not(svg *)')].filter(
            one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80)).join()"""
        assert browser.run(wider) == ""
        outside = """[...document.querySelectorAll('svg')].flatMap(svg => [...svg.querySelectorAll('text,circle,rect')]
            .filter(one => { const a = one.getBoundingClientRect(), b = svg.getBoundingClientRect();
                             return a.left < b.left - 2 || a.right > b.right + 2 || a.bottom > b.bottom + 2; })
            .map(one => one.textContent)).join()"""
        assert browser.run(outside) == ""
        luminance = browser.run(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + Number(b), 0)"
        )
        assert (luminance < 200) == is_dark
        browser.screenshot(tmp_path / "page.png")
        assert browser.problems == []
        assert {url.split(":")[0] for url in browser.requested} == {"file"}
    assert (tmp_path / "page.png").stat().st_size > 20_000
