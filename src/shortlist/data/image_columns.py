"""Columns of picture files, as paths or bytes, to thumbnails of one size."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 32  # pixels, unless the feature says another
MANY = 64  # pictures from which several are decoded at once

T = TypeVar("T")


class Pictures:
    """The different pictures (M) of a column of N rows; ``rows`` (N,) says which of them each row has, -1 for none."""

    def __init__(self, column: pl.Series) -> None:
        if column.dtype not in (pl.String, pl.Binary, pl.Null) and not isinstance(
            column.dtype, pl.Categorical | pl.Enum
        ):
            raise DataError(
                f"Feature {column.name!r} is an image, and the column holds {column.dtype}. Give paths or the bytes of files."
            )
        if isinstance(column.dtype, pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
        self.name = column.name
        places: dict[str | bytes, int] = {}
        rows = [places.setdefault(value, len(places)) if value else -1 for value in column]
        self.rows, self._values = torch.tensor(rows, dtype=torch.int64), list(places)

    def __len__(self) -> int:
        return len(self._values)

    def content(self, number: int) -> bytes:
        """The bytes of a picture's file; a file that is not there is a :class:`DataError`."""
        value = self._values[number]
        if isinstance(value, bytes):
            return value
        if "://" in value:
            raise DataError(
                f"{self._where(number)} is a URL, and none is fetched. Download the pictures, and name files."
            )
        try:
            return Path(value).read_bytes()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self._where(number)} cannot be read: {getattr(error, 'strerror', None) or error} (looked from {Path.cwd()}). Mend the path, or "
                "leave it empty where there is no picture."
            ) from error

    def open(self, number: int, *, least: int | None = None) -> Image:
        """A picture in RGB, upright, on white; one that cannot be decoded is a :class:`DataError`.

        Where ``least`` pixels a side are enough it may come smaller than its file has it, and sooner.
        """
        from PIL import Image, ImageOps

        content = self.content(number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                warnings.simplefilter("ignore", UserWarning)  # of odd metadata
                image: Image.Image = Image.open(io.BytesIO(content))
                if least is not None:
                    image.draft("RGB", (least, least))
                image = ImageOps.exif_transpose(image)
                if image.has_transparency_data:
                    image = image.convert("RGBA")
                    white = Image.new("RGBA", image.size, "white")
                    image = Image.alpha_composite(white, image)
                return image.convert("RGB")
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise DataError(
                f"{self._where(number)} cannot be decoded: {error}. Mend the file, or leave it empty where there is no picture."
            ) from error

    def thumbnails(self, side: int) -> Tensor:
        """All rows (N, 3, side, side) uint8: whole pictures, squeezed into a square; black where there is none."""
        from PIL.Image import Resampling

        def thumbnail(number: int) -> Tensor:
            small = self.open(number, least=side).resize((side, side), Resampling.BOX)
            return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)

        made, there = self.each(thumbnail), self.rows >= 0
        table = torch.zeros(len(self.rows), 3, side, side, dtype=torch.uint8)
        if made:
            table[there] = torch.stack(made)[self.rows[there]]
        return table

    def each(self, work: Callable[[int], T]) -> list[T]:
        """What ``work`` makes of every picture's number, in order; of many several at once."""
        if len(self) < MANY:
            return [work(number) for number in range(len(self))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(work, range(len(self))))

    def _where(self, number: int) -> str:
        value, row = self._values[number], int((self.rows == number).nonzero()[0]) + 1
        named = "" if isinstance(value, bytes) else f" ({value})"
        return f"The picture of feature {self.name!r} in row {row}{named}"
