"""The code in the guides runs, from the top."""

from __future__ import annotations

import random
import re
from pathlib import Path

import polars as pl
import pytest

from shortlist.data.synthetic import make_shop

GUIDES = sorted((Path(__file__).resolve().parents[2] / "docs" / "guides").glob("*.md"))


def _sessions() -> pl.DataFrame:
    draw = random.Random(0)
    starts = [draw.randrange(30) for _ in range(200)]
    rows = [(session, f"i{(start + step) % 30}") for session, start in enumerate(starts) for step in range(5)]
    return pl.DataFrame(rows, schema=["session_id", "item_id"], orient="row")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_code_of_a_guide_runs(guide: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), flags=re.DOTALL)
    assert blocks
    known = {"EVENTS": make_shop(users=100, items=160, events=1_800, seed=1).events, "SESSIONS": _sessions()}
    exec(compile("\n".join(blocks), guide.name, "exec"), known)
