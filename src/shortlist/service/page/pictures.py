"""Items to the pictures that a data set keeps of them: files its table of items names, or the thumbnails the model sees."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl
import torch

from shortlist.data.dataset import Dataset
from shortlist.data.image_columns import Pictures
from shortlist.errors import DataError

SIDE = 320  # pixels; a larger file is sent smaller
QUALITY = 85  # of a JPEG


def has_picture(dataset: Dataset, indices: Sequence[int]) -> list[bool]:
    """Which of the items have a picture, by what the data set says of them; no file is looked at."""
    paths, thumbnails = _sources(dataset, indices)
    there = [False] * len(indices) if paths is None else [bool(path) for path in paths]
    if thumbnails is not None:
        seen = thumbnails.flatten(1).any(1).tolist()
        there = [one or other for one, other in zip(there, seen, strict=True)]
    return there


def picture(dataset: Dataset, index: int) -> tuple[bytes, str] | None:
    """The picture of an item as a file and its media type: a JPEG of the file that the table of items names, or where that
    cannot be read a PNG of the thumbnail. None where there is neither.

    A file is decoded and written anew, so nothing but a picture can leave by this way.
    """
    paths, thumbnails = _sources(dataset, [index])
    if paths is not None and paths[0]:
        content = io.BytesIO()
        try:
            image = Pictures(paths).open(0, least=SIDE)
        except DataError:  # the bundle may have come to a machine that does not have the files
            pass
        else:
            image.thumbnail((SIDE, SIDE))
            image.save(content, "jpeg", quality=QUALITY)
            return content.getvalue(), "image/jpeg"
    if thumbnails is None or not bool(thumbnails.any()):
        return None
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(thumbnails[0].permute(1, 2, 0).contiguous().numpy()).save(content, "png")
    return content.getvalue(), "image/png"


def _sources(dataset: Dataset, indices: Sequence[int]) -> tuple[pl.Series | None, torch.Tensor | None]:
    """The paths of the items' pictures (n,) and their thumbnails (n, 3, h, h); each None where the data set has none."""
    items, table, features = torch.tensor(indices, dtype=torch.int64), dataset.item_table, dataset.item_features
    columns = [] if table is None else table.columns
    named = [each.name for each in dataset.schema.of("item") if each.kind == "image" and each.name in columns]
    paths = thumbnails = None
    if table is not None and named:
        paths = table.take(named[:1], items.numpy() - 1)[named[0]]
    if features is not None and features.layout.images:
        thumbnails = features.only("images").take(items).images[0]
    return paths, thumbnails
