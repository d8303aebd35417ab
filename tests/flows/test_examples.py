"""The examples run as they stand, and the README's commands and names exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import shortlist

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("arguments", [["300", "5000", "1"]])
def test_the_quickstart_runs(arguments: list[str]) -> None:
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ndcg@10" in done.stdout
    assert "over popularity" in done.stdout


def test_the_evolving_session_runs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "evolving_session.py"), "600", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    followed = re.findall(r"(\w+) +after tea (\d+) +: (.*)", done.stdout)
    assert {name for name, _, _ in followed} == {"GRU4Rec", "SASRec"}
    assert all(f"tea {int(place) + 1}" in answer for _, place, answer in followed)


def test_several_sources_run() -> None:
    command = [sys.executable, str(ROOT / "examples" / "several_sources.py"), "200", "3000", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = re.findall(r"(\w+) +recall@60 (\S+) +ndcg@10 (\S+)", done.stdout)
    assert [name for name, *_ in figures] == ["TwoTower", "SASRec", "Popularity", "union", "ranked"]
    for words in ("as it is", "varied", "and price <", "contribution"):
        assert words in done.stdout


def test_the_readmes_published_tables_are_the_committed_results() -> None:
    readme = (ROOT / "README.md").read_text()
    results = sorted((ROOT / "recipes" / "results").glob("*.json"))
    for path in results:
        (row,) = (line for line in readme.splitlines() if f"`{path.stem}`" in line)
        for value in json.loads(path.read_text())["mean"].values():
            assert f"{value:.4f}" in row, (path.name, value)


def test_examples_stay_short() -> None:
    for example in (ROOT / "examples").glob("*.py"):
        assert len(example.read_text().splitlines()) <= 80, example.name


def test_the_readme_names_only_what_exists(run: Callable[..., Any]) -> None:
    readme = (ROOT / "README.md").read_text()
    for name in set(re.findall(r"\bsl\.(\w+)", readme)):
        assert hasattr(shortlist, name), name
    verbs = set(re.findall(r"^shortlist (\w+)", readme, flags=re.MULTILINE)) | set(
        re.findall(r"`shortlist (\w+)", readme)
    )
    assert {"train", "evaluate", "recommend", "serve", "validate"} <= verbs
    for verb in verbs:
        assert run(verb, "--help").exit_code == 0, verb
