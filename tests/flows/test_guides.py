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


def _clicks() -> pl.DataFrame:
    draw = random.Random(0)
    rows = [(draw.choice(["tv", "phone", "pc"]), draw.randrange(24), draw.random() * 20) for _ in range(600)]
    clicks = [int(draw.random() < (0.8 if device == "tv" and hour > 17 else 0.2)) for device, hour, _ in rows]
    return pl.DataFrame(rows, schema=["device", "hour", "price"], orient="row").with_columns(click=pl.Series(clicks))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_code_of_a_guide_runs(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if guide.name == "export.md":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    monkeypatch.chdir(tmp_path)  # where it may write
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), flags=re.DOTALL)
    assert blocks
    shop = make_shop(users=100, items=160, events=1_800, seed=1)
    known = {"EVENTS": shop.events, "ITEMS": shop.items, "SESSIONS": _sessions(), "CLICKS": _clicks()}
    exec(compile("\n".join(blocks), guide.name, "exec"), known)
