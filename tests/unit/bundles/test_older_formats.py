"""Bundles of every older format still load, and answer as they did."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.unit.bundles.manifests import edit_older

import shortlist as sl
from shortlist.bundle import read_bundle
from shortlist.recommender import Recommender


@pytest.fixture
def format_3(tmp_path: Path) -> Path:
    """A recommender that a version with format 3 wrote, and what it answered: 21 items, two of them withdrawn."""
    shutil.copytree(Path(__file__).parent / "format_3", tmp_path / "format_3")
    return tmp_path / "format_3"


def _assert_answers(recommender: Recommender, folder: Path, *, where: bool = True) -> None:
    told = json.loads((folder / "answers.json").read_text())
    asked = {
        "users": recommender.recommend(["u00", "u03", "u11", "nobody"], k=6),
        "session": recommender.recommend(events=[{"item_id": 2}, {"item_id": 9}], k=5, context={"device": "tv"}),
    }
    if where:
        asked["where"] = recommender.recommend(["u01"], k=5, where="category = 'tea' and price < 15")
    for name, found in asked.items():
        before = pl.DataFrame(told[name])
        assert found.drop("score").to_dicts() == before.drop("score").to_dicts(), name
        assert found["score"].to_list() == pytest.approx(before["score"].to_list(), abs=1e-5), name
    assert recommender.titles([1, 2, 21, 99]) == told["titles"]


def test_a_bundle_of_format_3_answers_the_same(format_3: Path) -> None:
    """Its ids, titles and categories are lists in JSON."""
    recommender = sl.load(format_3 / "bundle")
    _assert_answers(recommender, format_3)
    recommender.save(format_3 / "bundle")
    assert read_bundle(format_3 / "bundle").arrays["withdrawn"].tolist() == [3, 4]
    _assert_answers(sl.load(format_3 / "bundle"), format_3)


def test_a_bundle_of_format_2_answers_the_same_but_for_what_was_withdrawn(format_3: Path) -> None:
    """It knew no withdrawn items, and not when it was made."""

    def as_format_2(manifest: dict[str, Any]) -> None:
        manifest["format"] = 2
        del manifest["facts"]["withdrawn"], manifest["facts"]["made"]

    edit_older(format_3 / "bundle", as_format_2)
    recommender = sl.load(format_3 / "bundle")
    assert recommender.ages()["model"] is None
    assert recommender.funnel.offered is None
    assert len(recommender.recommend(["u00"], k=6)) == 6


def test_a_bundle_of_format_1_answers_the_same(format_3: Path) -> None:
    """It had one source, its index under another key, no last step, and no raw columns of the items."""

    def as_format_1(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        manifest["index"] = manifest.pop("indexes")["index"]
        manifest["facts"] = {"candidates": manifest["facts"]["candidates"]}
        manifest["parts"] = {name: manifest["parts"][name] for name in ("model", "fallback", "ranker")}
        del manifest["files"]["item_table.parquet"]

    both = sl.load(format_3 / "bundle")
    edit_older(format_3 / "bundle", as_format_1)
    recommender = sl.load(format_3 / "bundle")
    only = replace(both.funnel, sources=both.funnel.sources[:1], selection=recommender.funnel.selection, offered=None)
    requests = both.funnel.sources[0].model.requests_of(torch.arange(1, 13))
    before, after = (funnel.retrieve(requests, 10) for funnel in (only, recommender.funnel))
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)
    with pytest.raises(sl.RequestError, match="without an items table"):
        recommender.recommend(["u00"], where="price < 9")
