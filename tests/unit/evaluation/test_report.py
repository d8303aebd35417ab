import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from shortlist.contracts import EvaluationBatch
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation import Report, Shortlist, compare, evaluate

MakeBatch = Callable[..., EvaluationBatch]
MakeShortlist = Callable[..., Shortlist]

MANY = [
    "hr@10",
    "recall@20",
    "precision@10",
    "ndcg@10",
    "mrr@10",
    "map@10",
    "coverage@10",
    "novelty@10",
    "diversity@10",
]


@pytest.fixture(scope="module")
def report(batch: MakeBatch, by_scores: MakeShortlist) -> Report:
    draw = torch.Generator().manual_seed(0)
    return evaluate(
        by_scores(torch.randn(80, 101, generator=draw), candidates=60),
        [batch([*torch.randint(1, 101, (79, 2), generator=draw).tolist(), []])],
        num_items=100,
        metrics=MANY,
        item_counts=torch.randint(0, 9, (101,), generator=draw),
        item_vectors=torch.randn(101, 4, generator=draw),
    )


def test_the_table_fits_a_terminal_and_shows_every_metric_segment_and_stage(report: Report) -> None:
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("79 users, all 100 items ranked (")
    for name in (
        *MANY,
        "heavy users",
        "head items",
        "tail items",
        "cold items",
        "held out",
        "index, 60 candidates",
        "top 20 after re-ranking",
    ):
        assert name in str(report)
    assert "Note: Requests without a target, left out: 1." in lines


def test_figures_stand_under_each_other(report: Report) -> None:
    lines = str(report).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("metric"))
    end = lines[start].index("value") + len("value")
    points = {line[:end][-5] for line in lines[start + 1 : start + 1 + len(MANY)]}
    assert points == {"."}


def test_a_metric_is_found_by_any_of_its_names(report: Report) -> None:
    assert report["hit_rate@10"] is report["hr@10"]
    with pytest.raises(SettingsError, match=r"no metric 'ndcg@11'. Did you mean 'ndcg@10'\? It has: hr@10, recall@20"):
        report["ndcg@11"]


def test_saving_and_loading_loses_nothing(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    loaded = Report.load(tmp_path / "report.json")
    assert loaded.to_dict() == report.to_dict()
    assert str(loaded) == str(report)
    for metric, values in report.per_user.items():
        np.testing.assert_array_equal(loaded.per_user[metric], values)
    assert compare(report, loaded, metric="recall@20").difference == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_dictionary_is_strict_json_even_where_a_figure_does_not_exist(
    batch: MakeBatch, by_scores: MakeShortlist
) -> None:
    lone = evaluate(
        by_scores(torch.arange(3.0).expand(1, -1)),
        [batch([[1]])],
        num_items=2,
        metrics=["diversity@1"],
        item_vectors=torch.eye(3),
    )
    assert math.isnan(lone["diversity@1"].value)
    text = json.dumps(lone.to_dict(), allow_nan=False)
    assert json.loads(text)["metrics"] == [{"metric": "diversity@1", "value": None, "low": None, "high": None}]


def test_a_figure_that_does_not_exist_survives_the_file(
    batch: MakeBatch, by_scores: MakeShortlist, tmp_path: Path
) -> None:
    lone = evaluate(
        by_scores(torch.arange(3.0).expand(1, -1)),
        [batch([[1]])],
        num_items=2,
        metrics=["diversity@1"],
        item_vectors=torch.eye(3),
    )
    lone.save(tmp_path / "lone.json")
    loaded = Report.load(tmp_path / "lone.json")
    assert math.isnan(loaded["diversity@1"].value)
    assert math.isnan(loaded.per_user["diversity@1"][0])
    assert "diversity@1      -" in str(loaded)


def test_the_frame_has_a_row_per_part_and_metric(report: Report) -> None:
    frame = report.to_frame()
    assert frame.columns == ["of", "segment", "num_users", "metric", "value", "low", "high"]
    overall = frame.filter(frame["segment"] == "all")
    assert overall["metric"].to_list() == MANY
    assert overall["value"].to_list() == [found.value for found in report.metrics]
    assert set(frame["segment"]) == {"all", *(segment.name for segment in report.segments)}


def test_the_page_shows_the_same_figures_and_needs_no_network(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<b>{report['ndcg@10'].value:.4f}</b>" in page
    assert "top 20 after re-ranking" in page
    assert "head items" in page
    assert "left out" in page
    assert "http" not in page
    assert "<script" not in page


def test_a_report_of_another_kind_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"does not end in .json or .html"):
        report.save(tmp_path / "report.pdf")
    with pytest.raises(DataError, match="cannot be written"):
        report.save(tmp_path / "missing" / "report.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "metrics": 3}'])
def test_a_file_that_is_no_report_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"is not a saved report.*Report.save"):
        Report.load(path)


def test_a_missing_file_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a saved report"):
        Report.load(tmp_path / "none.json")
    (tmp_path / "new.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(DataError, match="a format this version does not know"):
        Report.load(tmp_path / "new.json")
