"""A new bundle takes over without a gap, a bad one does not, and one call goes back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.errors import BundleError
from shortlist.service import ServiceSettings
from shortlist.service.app import create_app
from shortlist.service.generation import version_of

ASKED = {"user_id": "u0001", "k": 3}


@pytest.fixture(scope="module")
def bundles(shop_files: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two that answer differently: the second has lost the first one's best item."""
    folder = tmp_path_factory.mktemp("bundles")
    recommender = sl.load(shop_files.bundle)
    best = recommender.recommend(["u0001"], k=1)["item_id"][0]
    recommender.save(folder / "one")
    recommender.refresh(remove=[best]).save(folder / "two")
    return folder / "one", folder / "two"


@pytest.fixture
def served(bundles: tuple[Path, Path], tmp_path: Path) -> ServiceSettings:
    shutil.copytree(bundles[0], tmp_path / "all" / "one")
    return ServiceSettings(bundle=tmp_path / "all", folder=tmp_path / "service", poll_s=0.02)


@pytest.fixture
def client(served: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(create_app(served)) as client:
        yield client


def _answer(client: TestClient) -> tuple[str, tuple[Any, ...]]:
    answer = client.post("/recommend", json=ASKED).json()
    return answer["versions"]["model"], tuple(item["item_id"] for item in answer["items"])


def _until(client: TestClient, version: str) -> None:
    until = time.monotonic() + 5
    while _answer(client)[0] != version:
        assert time.monotonic() < until, "the bundle was not swapped"
        time.sleep(0.02)


def test_reload_serves_another_bundle_and_rollback_the_one_before(
    client: TestClient, bundles: tuple[Path, Path]
) -> None:
    first = _answer(client)
    swapped = client.post("/admin/reload", json={"bundle": str(bundles[1])}).json()
    assert swapped["before"]["model"] == first[0]
    second = _answer(client)
    assert second[0] == swapped["versions"]["model"] == version_of(bundles[1])
    assert second[1] != first[1]
    client.post("/admin/rollback")
    assert _answer(client) == first


def test_reload_without_a_body_looks_again_at_what_was_asked_for(
    client: TestClient, served: ServiceSettings, bundles: tuple[Path, Path]
) -> None:
    shutil.copytree(bundles[1], served.bundle / "two")
    assert client.post("/admin/reload").status_code == 200
    assert _answer(client)[0] == version_of(bundles[1])


def test_there_is_nothing_to_go_back_to_at_the_start(client: TestClient) -> None:
    answer = client.post("/admin/rollback")
    assert answer.status_code == 400
    assert "nothing to go back to" in answer.json()["error"]


def test_going_back_is_possible_after_a_restart_and_there_and_back_again(
    served: ServiceSettings, bundles: tuple[Path, Path]
) -> None:
    with TestClient(create_app(served)) as client:
        first = _answer(client)
        client.post("/admin/reload", json={"bundle": str(bundles[1])})
        second = _answer(client)
    with TestClient(create_app(served)) as client:
        for wanted in (first, second, first):
            assert client.post("/admin/rollback").status_code == 200
            assert _answer(client) == wanted
    with TestClient(create_app(served)) as client:
        assert _answer(client) == first


def test_what_keeps_from_following_is_said_once(served: ServiceSettings, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(replace(served, watch=True))) as client:
        hidden = served.bundle / "one"
        hidden.rename(served.bundle / ".one")
        time.sleep(0.5)
        (served.bundle / ".one").rename(hidden)
        time.sleep(0.2)
        hidden.rename(served.bundle / ".one")
        time.sleep(0.5)
        assert client.get("/health/ready").status_code == 200
    said = [record for record in caplog.records if record.getMessage() == "not followed"]
    assert len(said) == 2


@pytest.mark.parametrize("damage", ["a byte", "half a file", "no manifest", "a newer format"])
def test_a_bundle_that_cannot_be_served_is_refused_and_the_old_one_goes_on(
    client: TestClient, bundles: tuple[Path, Path], tmp_path: Path, damage: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(bundles[1], bad)
    weights, manifest = bad / "model.safetensors", bad / "bundle.json"
    data = weights.read_bytes()
    if damage == "a byte":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "half a file":
        weights.write_bytes(data[: len(data) // 2])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"format": ', '"format": 9', 1))
    before = _answer(client)
    answer = client.post("/admin/reload", json={"bundle": str(bad)})
    assert answer.status_code == 409, answer.text
    assert str(bad) in answer.json()["error"]
    assert _answer(client) == before


def test_where_the_newest_bundle_is_damaged_the_one_before_it_is_served_from_the_start(
    served: ServiceSettings, bundles: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = served.bundle / "two"
    shutil.copytree(bundles[1], damaged)
    (damaged / "bundle.json").touch()
    weights = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with caplog.at_level("ERROR", "shortlist.service"), TestClient(create_app(served)) as client:
        assert _answer(client)[0] == version_of(bundles[0])
        assert "shortlist_refused_bundles 1.0" in client.get("/metrics").text
    (said,) = (record for record in caplog.records if record.message == "a newer bundle cannot be loaded")
    assert str(damaged) in said.__dict__["why"]
    assert said.__dict__["instead"] == str(served.bundle / "one")
    (served.bundle / "one" / "bundle.json").unlink()  # and where no other is left, it is said why
    with pytest.raises(BundleError, match="two/model.safetensors is not what the bundle was written with"):
        create_app(replace(served, folder=served.own_folder / "new"))


def test_a_watched_folder_brings_newer_bundles_and_what_was_rolled_back_stays_out(
    served: ServiceSettings, bundles: tuple[Path, Path]
) -> None:
    folder = served.bundle
    watching = replace(served, watch=True)
    with TestClient(create_app(watching)) as client:
        first, _ = _answer(client)
        shutil.copytree(bundles[1], folder / ".coming")
        (folder / ".coming").rename(folder / "two")
        (folder / "two" / "bundle.json").touch()
        _until(client, version_of(bundles[1]))
        client.post("/admin/rollback")
        time.sleep(0.2)
        assert _answer(client)[0] == first
    with TestClient(create_app(watching)) as client:  # also after a restart
        assert _answer(client)[0] == first
        time.sleep(0.2)
        assert _answer(client)[0] == first


def test_an_older_bundle_that_is_named_is_served_until_a_newer_one_comes(
    served: ServiceSettings, bundles: tuple[Path, Path]
) -> None:
    folder = served.bundle
    shutil.copytree(bundles[1], folder / "two")
    watching = replace(served, watch=True)
    with TestClient(create_app(watching)) as client:
        assert _answer(client)[0] == version_of(bundles[1])
        client.post("/admin/reload", json={"bundle": str(folder / "one")})
        time.sleep(0.2)
        assert _answer(client)[0] == version_of(bundles[0])
    with TestClient(create_app(watching)) as client:  # also after a restart
        time.sleep(0.2)
        assert _answer(client)[0] == version_of(bundles[0])
        sl.load(bundles[0]).refresh(remove=["i0100"]).save(folder / "three")
        _until(client, version_of(folder / "three"))
        (folder / "three").rename(folder / ".three")  # taken out again: what else is there was refused
        client.post("/admin/reload", json={"bundle": str(folder / "two")})
        time.sleep(0.2)
        assert _answer(client)[0] == version_of(bundles[1])


def test_a_bundle_that_is_taken_out_of_a_watched_folder_is_served_no_more(
    served: ServiceSettings, bundles: tuple[Path, Path]
) -> None:
    shutil.copytree(bundles[1], served.bundle / "two")
    with TestClient(create_app(replace(served, watch=True))) as client:
        assert _answer(client)[0] == version_of(bundles[1])
        (served.bundle / "two").rename(served.bundle / ".two")
        _until(client, version_of(bundles[0]))


def test_a_bundle_that_is_watched_may_be_replaced_in_place(served: ServiceSettings, bundles: tuple[Path, Path]) -> None:
    bundle = served.bundle / "one"
    with TestClient(create_app(replace(served, bundle=bundle, watch=True))) as client:
        sl.load(bundles[1]).save(bundle)
        _until(client, version_of(bundle))


def test_another_process_follows_a_swap(served: ServiceSettings, bundles: tuple[Path, Path]) -> None:
    with TestClient(create_app(served)) as one, TestClient(create_app(served)) as other:
        first, _ = _answer(other)
        one.post("/admin/reload", json={"bundle": str(bundles[1])})
        _until(other, version_of(bundles[1]))
        other.post("/admin/rollback")
        _until(one, first)


def test_what_was_swapped_in_is_served_after_a_restart(served: ServiceSettings, bundles: tuple[Path, Path]) -> None:
    with TestClient(create_app(served)) as client:
        client.post("/admin/reload", json={"bundle": str(bundles[1])})
    with TestClient(create_app(served)) as client:
        assert _answer(client)[0] == version_of(bundles[1])


def test_changes_of_items_go_over_to_the_next_bundle(client: TestClient, bundles: tuple[Path, Path]) -> None:
    gone = _answer(client)[1][1]
    client.delete(f"/items/{gone}")
    swapped = client.post("/admin/reload", json={"bundle": str(bundles[1])}).json()
    assert swapped["versions"]["index"].endswith(".1")
    answer = client.post("/recommend", json={"user_id": "u0001", "k": 200}).json()
    assert gone not in [item["item_id"] for item in answer["items"]]
