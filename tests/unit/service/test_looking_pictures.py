"""Pictures of items for the page: made smaller, by thumbnail where the file is gone, and never another file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.unit.service.looking_app import QUICK, client_of

import shortlist as sl
from shortlist.data import Dataset, read_dataset
from shortlist.recommender import Recommender


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Path]:
    """Items that name files: a photograph, one that is gone after reading, no picture, and later a text."""
    folder = tmp_path_factory.mktemp("pictures")
    colours = {"wide": (200, 40, 40), "gone": (20, 200, 20), "text": (10, 10, 200)}
    for name, colour in colours.items():
        Image.new("RGB", (900, 300), colour).save(folder / f"{name}.png")
    items = pl.DataFrame(
        {"item_id": ["a/b", "gone", "none", "text"], "photo": ["wide.png", "gone.png", None, "text.png"]}
    )
    items.write_csv(folder / "items.csv")
    events = pl.DataFrame({"user_id": ["u"] * 4, "item_id": items["item_id"], "timestamp": [1, 2, 3, 4]})
    schema = {"features": [{"name": "photo", "kind": "image", "owner": "item", "size": 8}]}
    dataset = read_dataset(events, items=folder / "items.csv", schema=schema)
    (folder / "gone.png").unlink()
    (folder / "text.png").write_text("a secret")
    return Recommender(sl.fit(sl.Popularity(), dataset, training=QUICK)), folder


def _colour(content: bytes) -> list[float]:
    with Image.open(io.BytesIO(content)) as image:
        return list(np.asarray(image.convert("RGB"), dtype=float).mean((0, 1)))


def test_a_picture_is_the_file_that_the_items_table_names_made_smaller(pictured: tuple[Recommender, Path]) -> None:
    answer = client_of(pictured[0]).get("/items/a%2Fb/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (320, 107)
    assert _colour(answer.content) == pytest.approx([200, 40, 40], abs=4)


@pytest.mark.parametrize(("item", "colour"), [("gone", [20, 200, 20]), ("text", [10, 10, 200])])
def test_where_the_file_is_no_picture_any_more_the_thumbnail_is_sent(
    pictured: tuple[Recommender, Path], item: str, colour: list[int]
) -> None:
    answer = client_of(pictured[0]).get(f"/items/{item}/image")
    assert answer.headers["content-type"] == "image/png"
    assert _colour(answer.content) == pytest.approx(colour, abs=1)
    assert b"secret" not in answer.content


def test_pictures_given_as_bytes_are_sent_as_their_thumbnails(rich_dataset: Dataset) -> None:
    client = client_of(Recommender(sl.fit(sl.Popularity(), rich_dataset, training=QUICK)))
    assert rich_dataset.item_features is not None
    wanted = rich_dataset.item_features.images[0][3].float().mean((1, 2)).tolist()
    assert _colour(client.get("/items/3/image").content) == pytest.approx(wanted, abs=0.6)
    told = {item["item_id"]: item["has_image"] for item in client.get("/catalogue?limit=100").json()}
    assert [item for item, there in told.items() if not there] == [7]
    assert client.get("/items/7/image").status_code == 404


def test_it_is_told_which_items_have_a_picture(pictured: tuple[Recommender, Path]) -> None:
    client, names = client_of(pictured[0]), ["a/b", "none", "text"]
    told = client.get("/catalogue", params={"item": names}).json()
    assert [item["has_image"] for item in told] == [True, False, True]


@pytest.mark.parametrize("name", ["none", "unknown", "..%2F..%2F..%2Fetc%2Fpasswd", "wide.png", "--5", "%00"])
def test_a_request_reaches_no_file_by_naming_it(pictured: tuple[Recommender, Path], name: str) -> None:
    path = f"{pictured[1]}/wide.png".replace("/", "%2F")
    for item in (name, path):
        assert client_of(pictured[0]).get(f"/items/{item}/image").status_code == 404
