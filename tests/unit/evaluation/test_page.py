from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from shortlist.contracts import EvaluationBatch, SearchSpeed
from shortlist.evaluation import Report, Shortlist, evaluate
from shortlist.evaluation.diagnosis import DepthCurve, Diagnosis, Example, ItemMap, Listed, TrainingCurve
from shortlist.evaluation.plots import Line, axis, lines
from shortlist.evaluation.popularity import popularity_bias
from shortlist.evaluation.reliability import reliability

NASTY = '<script>alert("1")</script> & <b>'
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Which elements were opened and closed in the wrong order, and which ids there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value is not None]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture
def report(batch: Callable[..., EvaluationBatch], by_scores: Callable[..., Shortlist]) -> Report:
    draw = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 9, (61,), generator=draw)
    found = evaluate(
        by_scores(torch.randn(40, 61, generator=draw), candidates=30),
        [batch(torch.randint(1, 61, (40, 2), generator=draw).tolist())],
        num_items=60,
        metrics=["ndcg@10", "hr@10"],
        item_counts=counts,
    )
    diagnosis = Diagnosis(
        facts={"retriever": NASTY},
        depth=DepthCurve((10, 30, 60), (0.2, 0.5, 1.0), (0.2, 0.4, 0.9), 30, 40),
        speed=(
            SearchSpeed("exact", 1.0, 900.0, False),
            SearchSpeed("ef_search=50", 0.8, 5000.0, True),
            SearchSpeed("ef_search=90", 0.97, 2000.0, False),
        ),
        speed_k=10,
        reliability=reliability(torch.rand(500, generator=draw), torch.randint(0, 2, (500,), generator=draw), of=NASTY),
        popularity=popularity_bias(shown=counts, held_out=counts, training=counts, k=10),
        training=(TrainingCurve("retriever", "MF", (3.0, 2.0), "ndcg@10", (0.1, float("nan")), 1, 2.0),),
        items=ItemMap((0.1, 0.5), (0.2, 0.9), (0, 1), (NASTY, "Plain"), (NASTY, "other"), NASTY, 0.5, 60),
        examples=(
            Example(
                NASTY,
                "new",
                (NASTY,),
                1,
                (Listed(NASTY, True),),
                (Listed(NASTY, True, -3),),
                ((NASTY, "found at 1"),),
                4,
            ),
        ),
    )
    return dataclasses.replace(found, diagnosis=diagnosis)


def test_whatever_a_title_holds_is_text_on_the_page(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    balance = Balance()
    balance.feed(page)
    assert balance.open == balance.wrong == []
    assert "script" not in balance.tags
    assert page.count("&lt;script&gt;") >= 8
    assert len(balance.ids) == len(set(balance.ids))
    assert {"funnel", "stages", "segments", "closer", "examples", "about"} <= set(balance.ids)
    assert not re.search(r"(src|href)=|url\(|@import", page)


def test_every_plot_has_a_title_a_description_and_a_sentence_with_its_figures(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == 6
    for figure in figures:
        assert re.search(
            r'<svg [^>]*role="img"[^>]*><title id="[\w-]+">[^<]+</title><desc id="[\w-]+">[^<]+</desc>', figure
        )
        assert re.search(r"<figcaption>[^<]*\d[^<]*</figcaption>", figure)
    assert "With 30 candidates, 40.0% of a user&#x27;s held-out items are found" in page
    assert "The index costs 10.00 points of it" in page
    assert "5.6 times exact search" in page


def test_a_part_that_could_not_be_looked_at_says_why(report: Report, tmp_path: Path) -> None:
    bare = dataclasses.replace(report, diagnosis=Diagnosis(reasons={"speed": "No index & no speed."}))
    bare.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No index &amp; no speed." in page
    assert "<svg" not in page


def test_a_diagnosis_survives_the_json_file(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    loaded = Report.load(tmp_path / "report.json")
    assert loaded.to_dict() == report.to_dict()
    assert loaded.diagnosis is not None
    assert loaded.diagnosis.depth == report.diagnosis.depth  # type: ignore[union-attr]
    loaded.save(tmp_path / "a.html")
    report.save(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_points_lie_where_their_values_say() -> None:
    x, y = axis("x", [1.0, 100.0], is_log=True), axis("y", [0.0, 1.0], from_zero=True)
    drawn = lines("n", "t", "d", [Line("l", [(1, 0), (10, 0.5), (100, 1)], ["a", "b", "c"], 0)], x, y)
    places = [(float(left), float(top)) for left, top in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.2)
    assert places[0][1] > places[1][1] > places[2][1]
    assert x.ticks() == [1, 2, 5, 10, 20, 50, 100]
    assert axis("y", [0, 0.83], from_zero=True).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
