"""A writer that is killed, or meets an error, at any step of publishing leaves the old bundle or the new one, whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from publishing import control, publish
from running import pool
from steps import How

import shortlist as sl
from shortlist.recommender import Recommender


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small ones, without a table of items: processes that Polars' threads run in are not to be forked."""
    folder = tmp_path_factory.mktemp("plain")
    events = pl.DataFrame({"user_id": list("aabbcc"), "item_id": list("xyxzyz"), "timestamp": range(6)})
    model = sl.fit(sl.Popularity(), sl.read_dataset(events))
    for name, candidates in (("one", 10), ("two", 20)):
        Recommender(model, candidates=candidates).save(folder / name)
    return folder / "one", folder / "two"


@pytest.mark.parametrize("how", ["kill", "error"])
@pytest.mark.parametrize("replaces", [True, False])
def test_publishing_with_a_fault_at_any_step_leaves_the_old_bundle_or_the_new(
    plain: tuple[Path, Path], quick: Path, how: How, replaces: bool, record_property: Callable[[str, object], None]
) -> None:
    (quick / "all").mkdir()
    with pool() as processes:
        work = processes.submit(publish, plain, quick / "all" / "b", how, replaces=replaces, exchanges=True)
        found = work.result(timeout=300)
    record_property("steps", found.total())
    assert set(found) == ({"old", "new"} if replaces else {"none", "new"})
    assert found.total() > 15


def test_where_names_cannot_be_exchanged_the_old_bundle_is_at_its_place_or_beside_it(
    plain: tuple[Path, Path], quick: Path
) -> None:
    (quick / "all").mkdir()
    with pool() as processes:
        work = processes.submit(publish, plain, quick / "all" / "b", "kill", replaces=True, exchanges=False)
        assert set(work.result(timeout=300)) == {"old", "new", "old, beside"}


@pytest.mark.parametrize("how", ["kill", "error"])
def test_the_file_that_says_what_is_served_is_the_old_or_the_new_at_any_step(
    quick: Path, how: How, record_property: Callable[[str, object], None]
) -> None:
    with pool() as processes:
        found = processes.submit(control, quick / "all", how).result(timeout=300)
    record_property("steps", found.total())
    assert found["old"] > 2
    assert found["new"] >= 1
