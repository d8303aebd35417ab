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
    column, thumbnails = _sources(dataset)
    there = [False] * len(indices) if column is None else [bool(column[index - 1]) for index in indices]
    if thumbnails is not None:
        seen = thumbnails[torch.tensor(indices, dtype=torch.int64)].flatten(1).any(1).tolist()
        there = [one or other for one, other in zip(there, seen, strict=True)]
    return there


def picture(dataset: Dataset, index: int) -> tuple[bytes, str] | None:
    """The picture of an item as a file and its media type: a JPEG of the file that the table of items names, or where that
    cannot be read a PNG of the thumbnail. None where there is neither.

    A file is decoded and written anew, so nothing but a picture can leave by this way.
    """
    column, thumbnails = _sources(dataset)
    if column is not None and column[index - 1]:
        content = io.BytesIO()
        try:
            image = Pictures(column[index - 1 : index]).open(0, least=SIDE)
        except DataError:  # the bundle may have come to a machine that does not have the files
            pass
        else:
            image.thumbnail((SIDE, SIDE))
            image.save(content, "jpeg", quality=QUALITY)
            return content.getvalue(), "image/jpeg"
    if thumbnails is None or not bool(thumbnails[index].any()):
        return None
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(thumbnails[index].permute(1, 2, 0).contiguous().numpy()).save(content, "png")
    return content.getvalue(), "image/png"


def _sources(dataset: Dataset) -> tuple[pl.Series | None, torch.Tensor | None]:
    """The paths of the items' pictures (I,) and their thumbnails (I+1, 3, h, h); each None where there are none."""
    features = [feature for feature in dataset.schema.of("item") if feature.kind == "image"]
    table, images = dataset.item_table, () if dataset.item_features is None else dataset.item_features.images
    named = (
        []
        if table is None
        else [table.select([feature.name])[feature.name] for feature in features if feature.name in table.columns]
    )
    return named[0] if named else None, images[0] if images else None
