"""A bundle that was changed, by chance or on purpose, is refused, or is of use: it never ends a process or holds it up."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from damaging import damage_by_chance, damage_on_purpose, listed_but_manifest, outcome_of, seal, with_file
from running import LONG, pool

import shortlist as sl
from shortlist.bundle import read_bundle, write_bundle

CHANGES = 500 if LONG else 20  # of each file
LIMIT_S = 5.0 * CHANGES + 60


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with pool() as processes:
        yield processes


@pytest.fixture(scope="module")
def bundle(bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with two kinds of indexes."""
    folder = tmp_path_factory.mktemp("bundle") / "two kinds"
    read = read_bundle(bundles[1])
    (settings, arrays) = read.indexes["index_2"]
    other = sl.IVFPQ(nprobe=2, k_factor=2)
    index = other.build(*settings.restore(arrays).alive())
    write_bundle(folder, dataclasses.replace(read, indexes={**read.indexes, "index_2": (other, index.arrays())}))
    return folder


@pytest.mark.parametrize("work", [damage_by_chance, damage_on_purpose])
def test_a_changed_bundle_is_refused_or_of_use_and_ends_no_process(
    processes: ProcessPoolExecutor,
    bundle: Path,
    tmp_path: Path,
    work: Callable[..., Counter[str]],
    record_property: Callable[[str, object], None],
) -> None:
    assert processes.submit(outcome_of, bundle).result(60) == "loaded"
    found: Counter[str] = Counter()
    names = sorted(file.name for file in bundle.iterdir())
    for name in names:
        try:
            asked = processes.submit(work, bundle, name, tmp_path / "b", count=CHANGES, seed=1 if LONG else 0)
            found += asked.result(LIMIT_S)
        except BrokenProcessPool:
            pytest.fail(f"a process ended: {(tmp_path / 'b.note').read_text()}")
        except BaseException as error:
            error.add_note((tmp_path / "b.note").read_text())
            raise
    record_property("changes", {**found})
    assert found.total() == CHANGES * len(names)
    assert found["refused: BundleError"] > found.total() / 3
    assert {outcome for outcome in found if outcome.startswith("refused")} == {"refused: BundleError"}


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_pickle_under_any_name_is_never_executed(
    processes: ProcessPoolExecutor, bundles: tuple[Path, Path], tmp_path: Path, is_sealed: bool
) -> None:
    trap, sprung = pickle.dumps(Trap(tmp_path / "sprung")), tmp_path / "sprung"
    pickle.loads(trap)
    assert sprung.exists()
    sprung.unlink()
    for name in sorted(file.name for file in bundles[0].iterdir()):
        with_file(bundles[0], name, trap, tmp_path / "b", "a trap")
        if is_sealed and name != "bundle.json":
            seal(tmp_path / "b", manifest(bundles[0]) | {"files": listed_but_manifest(tmp_path / "b")})
        outcome = processes.submit(outcome_of, tmp_path / "b").result(60)
        assert outcome.startswith(("refused", "loaded, and then")), (name, outcome)
    with_file(bundles[0], "more.pkl", trap, tmp_path / "b", "one more file")
    assert processes.submit(outcome_of, tmp_path / "b").result(60) == "loaded"
    assert not sprung.exists()


def manifest(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    return found


@pytest.mark.parametrize("name", ["../out.safetensors", "/etc/passwd", "a/../../out.safetensors", "model.pkl", "."])
def test_names_that_lead_elsewhere_are_not_followed(
    processes: ProcessPoolExecutor, bundles: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    with_file(
        bundles[0], "model.safetensors", (bundles[0] / "model.safetensors").read_bytes(), tmp_path / "b", "a path"
    )
    (tmp_path / "b" / "model.safetensors").rename(tmp_path / "out.safetensors")
    stated = manifest(bundles[0])
    stated["files"][name] = stated["files"].pop("model.safetensors")
    seal(tmp_path / "b", stated)
    assert processes.submit(outcome_of, tmp_path / "b").result(60) == "refused: BundleError"


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors", "item_table.parquet"])
def test_links_in_place_of_files_are_not_followed(
    processes: ProcessPoolExecutor, bundles: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    with_file(bundles[0], name, b"", tmp_path / "b", "a link")
    (tmp_path / "b" / name).unlink()
    (tmp_path / "b" / name).symlink_to(bundles[0] / name)
    assert processes.submit(outcome_of, tmp_path / "b").result(60) == "refused: BundleError"
