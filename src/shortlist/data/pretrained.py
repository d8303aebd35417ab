"""Texts and pictures to vectors by models that others have trained, named in the schema: extras ``text`` and ``images``.

The models are frozen. What one has made is kept on disk by the content's hash (see ``vector_cache``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.data.image_columns import Pictures
from shortlist.data.text_encoder import distinct_texts, spread
from shortlist.data.vector_cache import content_key, frozen_vectors
from shortlist.errors import DataError, MissingExtraError

PICTURES_AT_ONCE = 32
MODELS = 2  # that stay in memory


def model_source(name: str) -> str:
    """Where a model's files are: a folder that is there, one inside an installed package of that name, or else a hub's name."""
    if Path(name).is_dir():
        return name
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    for folder in () if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations:
        for marker in ("modules.json", "config.json"):
            if found := next(iter(sorted(Path(folder).glob(f"*/{marker}"))), None):
                return str(found.parent)
    return name


@lru_cache(MODELS)
def _identity(kind: str, name: str) -> str:
    """What says whether vectors come from the same encoder: its name, or of files on this machine a hash of them."""
    source = Path(model_source(name))
    if not source.is_dir():
        return f"{kind} {name}"
    hashed = sha256()
    for path in sorted(file for file in source.rglob("*") if file.is_file()):
        hashed.update(path.relative_to(source).as_posix().encode() + b"\0" + path.stat().st_size.to_bytes(8, "big"))
        with path.open("rb") as file:
            while block := file.read(2**20):
                hashed.update(block)
    return f"{kind} {hashed.hexdigest()}"


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """A model of sentence-transformers by its name, its folder, or the installed package that carries it."""

    name: str
    width: int

    @classmethod
    def fit(cls, column: pl.Series, name: str) -> SentenceEncoder:
        """The encoder, whose width its vectors of a column tell. No text at all is a :class:`DataError`."""
        texts, _ = distinct_texts(column)
        if not texts:
            raise DataError(f"Feature {column.name!r} is text, and none of {len(column):,} rows has any. Leave it out.")
        return cls(name, cls(name, 0)._vectors(texts).shape[1])

    def encode(self, column: pl.Series) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) of the texts of N rows, and which rows have one (N,)."""
        texts, rows = distinct_texts(column)
        return spread(self._vectors(texts) if texts else torch.zeros(0, self.width), rows)

    def arrays(self) -> dict[str, Tensor]:
        """Nothing: the model's files are not ours."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Its name and width."""
        return {"kind": "sentences", "name": self.name, "width": self.width}

    def _vectors(self, texts: list[str]) -> Tensor:
        def embed(chosen: list[int]) -> Any:
            return _sentence_model(self.name).encode([texts[place] for place in chosen], show_progress_bar=False)

        keys = [content_key(text.encode()) for text in texts]
        return torch.from_numpy(frozen_vectors(keys, embed, identity=_identity("sentences", self.name)))


@dataclass(frozen=True, slots=True)
class VisionEncoder:
    """A vision model of transformers by its name, its folder, or the installed package that carries it."""

    name: str
    width: int

    @classmethod
    def fit(cls, column: pl.Series, name: str) -> VisionEncoder:
        """The encoder, whose width its vectors of a column tell. No picture at all is a :class:`DataError`."""
        pictures = Pictures(column)
        if not len(pictures):
            raise DataError(
                f"Feature {column.name!r} is an image, and none of {len(column):,} rows has one. Leave it out."
            )
        return cls(name, cls(name, 0)._vectors(pictures).shape[1])

    def encode(self, column: pl.Series) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) of the pictures of N rows, and which rows have one (N,)."""
        pictures = Pictures(column)
        return spread(self._vectors(pictures) if len(pictures) else torch.zeros(0, self.width), pictures.rows)

    def arrays(self) -> dict[str, Tensor]:
        """Nothing: the model's files are not ours."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Its name and width."""
        return {"kind": "pictures", "name": self.name, "width": self.width}

    def _vectors(self, pictures: Pictures) -> Tensor:
        keys = pictures.each(lambda number: content_key(pictures.content(number)))

        def embed(chosen: list[int]) -> Any:
            parts = []
            for start in range(0, len(chosen), PICTURES_AT_ONCE):
                images = [pictures.open(number) for number in chosen[start : start + PICTURES_AT_ONCE]]
                parts.append(self._embedded(images))
            return np.concatenate(parts)

        return torch.from_numpy(frozen_vectors(keys, embed, identity=_identity("pictures", self.name)))

    @torch.inference_mode()
    def _embedded(self, images: list[Any]) -> Any:
        processor, model = _vision_model(self.name)
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        seen = model.vision_model(pixel_values=pixels) if hasattr(model, "vision_model") else model(pixel_values=pixels)
        pooled = getattr(seen, "pooler_output", None)
        return (seen.last_hidden_state.flatten(2).mean(1) if pooled is None else pooled.flatten(1)).numpy()


@lru_cache(MODELS)
def _sentence_model(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            f"The text encoder {name!r} needs sentence-transformers, which is not installed. "
            "Install it with: pip install 'shortlist[text]'; or use the built-in encoder \"tfidf\"."
        ) from error
    return _loaded(lambda: SentenceTransformer(model_source(name)), name)


@lru_cache(MODELS)
def _vision_model(name: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError as error:
        raise MissingExtraError(
            f"The image encoder {name!r} needs transformers, which is not installed. Install it with: "
            "pip install 'shortlist[images]'; or leave encoder out, and the model learns to see thumbnails."
        ) from error
    source = model_source(name)
    processor = _loaded(lambda: AutoImageProcessor.from_pretrained(source), name)
    return processor, _loaded(lambda: AutoModel.from_pretrained(source).eval(), name)


def _loaded(load: Callable[[], Any], name: str) -> Any:
    try:
        return load()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        cause = str(error).strip().split("\n")[0]
        raise DataError(
            f"The encoder {name!r} cannot be loaded: {cause}. Give a model's name on the Hugging Face hub (the "
            "first use downloads it), a folder with its files, or an installed package that carries them."
        ) from error
