"""What a library writes of itself into an array and back, and FAISS's vectors into a tensor without a copy.

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


def shared_vectors(flat: Any, *, owner: object) -> Tensor:
    """FAISS's own copy (n, D) of the vectors of an index ``flat``, which lives as long as ``owner``."""
    flat = faiss.downcast_index(flat)
    values = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return torch.from_numpy(np.asarray(_Held(values, owner)))


class _Held:
    """An array over memory that another object owns, with that object: the memory lives as long as a view of it."""

    def __init__(self, array: npt.NDArray[Any], owner: object) -> None:
        self.__array_interface__ = array.__array_interface__
        self._owner = owner
