"""What a library writes of itself into an array and back, and arrays into FAISS without a copy.

No library checks what it reads: one flipped bit can end the process. So the bytes carry their SHA-256, and nothing is
handed on that does not have it.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shortlist.errors import MissingExtraError, SearchError
from shortlist.index.checks import stored

faiss: Any = _faiss  # its type stubs leave much out

_DIGEST = hashlib.sha256().digest_size


def sealed(data: npt.NDArray[np.uint8]) -> Tensor:
    """The bytes ``data`` behind their digest, as (bytes,) uint8."""
    digest = np.frombuffer(hashlib.sha256(data.data).digest(), dtype=np.uint8)
    return torch.from_numpy(np.concatenate([digest, data]))


def unsealed(arrays: dict[str, Tensor], name: str) -> npt.NDArray[np.uint8]:
    """What was :func:`sealed` as ``arrays[name]``, unchanged, or a SearchError."""
    whole = stored(arrays, name, torch.uint8, ndim=1).numpy()
    digest, data = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(data.data).digest() != digest.tobytes():
        raise SearchError(f"The array {name!r} of a saved index is not what was written. Build the index again.")
    return data


def optional_library(name: str, *, extra: str) -> Any:
    """The module ``name``, or a MissingExtraError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f'The index needs {name}, which is not installed. Install it with: pip install "shortlist[{extra}]".'
        ) from error


def flat_index(vectors: Tensor) -> Any:
    """FAISS's index of all inner products with ``vectors`` (n, D), which it reads where they are: keep them as long."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    lay_under(flat, vectors)
    return flat


def lay_under(flat: Any, vectors: Tensor) -> None:
    """Make ``vectors`` (n, D), where they are, those of an empty flat index of FAISS."""
    flat.codes, flat.ntotal = viewed(vectors.numpy().view(np.uint8).reshape(-1)), len(vectors)


def viewed(array: npt.NDArray[Any]) -> Any:
    """FAISS's vector of the bytes or the int32 numbers of ``array`` (n,), which it reads where they are."""
    view = {"uint8": faiss.MaybeOwnedVectorUInt8, "int32": faiss.MaybeOwnedVectorInt32}[array.dtype.name]()
    view.is_owned = False  # its own function for this takes an owner that Python cannot make
    view.view_data = view.c_ptr = faiss.swig_ptr(array)
    view.view_size = view.c_size = array.size
    return view
