"""Pictures to thumbnails: paths and bytes, all colours upright on white; what cannot be read is named with its row."""

from __future__ import annotations

import io

import polars as pl
import pytest
import torch
from PIL import Image

import shortlist as sl
from shortlist.data.image_columns import Pictures
from shortlist.errors import DataError

RED, BLUE = (200, 10, 30), (0, 0, 255)


def content(image, kind="png", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def plain(colour, size=(40, 20)):
    return Image.new("RGB", size, colour)


def thumbnails(*values, side=8):
    return Pictures(pl.Series("photo", values)).thumbnails(side)


def test_paths_and_bytes_give_the_same_thumbnails_and_a_missing_picture_is_black(tmp_path):
    plain(RED).save(tmp_path / "a.png")
    from_path, from_bytes = thumbnails(str(tmp_path / "a.png"), ""), thumbnails(content(plain(RED)), None)
    assert from_path.shape == (2, 3, 8, 8)
    assert from_path.dtype == torch.uint8
    assert torch.equal(from_path, from_bytes)
    assert from_path[0].flatten(1).unique(dim=1).squeeze(1).tolist() == list(RED)
    assert from_path[1].count_nonzero() == 0


def test_a_picture_is_squeezed_whole():
    two = plain(RED)
    two.paste(BLUE, (20, 0, 40, 20))
    left, right = thumbnails(content(two))[0][:, :, :4], thumbnails(content(two))[0][:, :, 4:]
    assert left.flatten(1).unique(dim=1).squeeze(1).tolist() == list(RED)
    assert right.flatten(1).unique(dim=1).squeeze(1).tolist() == list(BLUE)


def test_every_kind_of_file_is_read_and_what_is_transparent_is_white():
    for kind, settings in (("jpeg", {"quality": 95}), ("gif", {}), ("webp", {"lossless": True}), ("bmp", {})):
        found = thumbnails(content(plain(RED, (64, 64)), kind, **settings))[0].float().mean((1, 2))
        torch.testing.assert_close(found, torch.tensor(RED).float(), atol=3, rtol=0)
    clear = Image.new("RGBA", (9, 9), (*BLUE, 0))
    assert thumbnails(content(clear))[0].float().mean() == 255
    assert thumbnails(content(Image.new("L", (9, 9), 128)))[0].unique().tolist() == [128]
    assert thumbnails(content(clear.convert("P")))[0].shape == (3, 8, 8)


def test_a_camera_on_its_side_is_turned():
    lying = plain(RED)
    lying.paste(BLUE, (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what is left comes to the top
    found = thumbnails(content(lying, "jpeg", quality=95, subsampling=0, exif=exif))[0].float()
    assert found[0, :3].mean() > 150
    assert found[0, -3:].mean() < 30


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"no picture", r"The picture of feature 'photo' in row 2 cannot be decoded: cannot identify"),
        (content(plain(RED))[:-30], r"in row 2 cannot be decoded"),
        ("lost.png", r"in row 2 \(lost\.png\) cannot be read: No such file or directory \(looked from /"),
        ("https://a.com/b.png", r"in row 2 \(https://a\.com/b\.png\) is a URL, and none is fetched"),
        ("a\0b", r"in row 2 .* cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(value, message):
    with pytest.raises(DataError, match=message):
        thumbnails(None, value)


def test_a_picture_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"in row 1 cannot be decoded: Image size \(800 pixels\) exceeds limit"):
        thumbnails(content(plain(RED)))


def test_a_column_of_something_else_is_refused():
    with pytest.raises(DataError, match=r"Feature 'photo' is an image, and the column holds Int64\. Give paths"):
        Pictures(pl.Series("photo", [1]))


def test_paths_in_a_file_are_seen_from_where_it_lies(tmp_path):
    """Inferred from their names; many, so that several are decoded at once."""
    (tmp_path / "img").mkdir()
    for number in range(100):
        plain((number, 0, 0)).save(tmp_path / "img" / f"{number}.png")
    items = pl.DataFrame({"item_id": range(100), "photo": [f"img/{number}.png" for number in range(100)]})
    items.write_csv(tmp_path / "items.csv")
    events = pl.DataFrame({"user_id": [1, 1], "item_id": [5, 99]})
    features = sl.read_dataset(events, items=tmp_path / "items.csv").item_features
    assert features.layout.images == (32,)
    assert features.images[0][1:, 0, 0, 0].tolist() == list(range(100))
    assert features.images[0][0].count_nonzero() == 0
