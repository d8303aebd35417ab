"""What a caller hands to an index into tensors an index can trust, or an error that names the row.

Some libraries crash the process on NaN, a wrong width or k beyond the catalogue: nothing reaches them unchecked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.errors import SearchError

_LARGEST = 1e17  # products of two such values still sum up within float32
_LAST_ITEM = 2**31 - 1


def checked_vectors(vectors: Tensor, *, what: str, width: int | None = None) -> Tensor:
    """``vectors`` (N, D) as finite, contiguous float32 in main memory, detached from any gradient."""
    if vectors.ndim != 2:
        raise SearchError(
            f"{what} have the shape {tuple(vectors.shape)}. They are a matrix, one row each: (rows, width)."
        )
    if width is not None and vectors.shape[1] != width:
        raise SearchError(f"{what} have width {vectors.shape[1]}, and the index holds vectors of width {width}.")
    if not vectors.is_floating_point():
        raise SearchError(f"{what} are {vectors.dtype}. They are floating point.")
    vectors = vectors.detach().to("cpu", torch.float32).contiguous()
    if vectors.numel() and not _are_within(vectors):
        bad = (~(vectors.abs() <= _LARGEST)).any(1).nonzero().squeeze(1)
        raise SearchError(
            f"{what} hold NaN, infinity or values beyond {_LARGEST:g} in {len(bad)} rows, the first is row {int(bad[0])}."
        )
    return vectors


def _are_within(vectors: Tensor) -> bool:
    """Whether there is no NaN, infinity or overflow: NaN comes through as both ends, and a comparison with it is false."""
    least, most = torch.aminmax(vectors)  # a twentieth of the time of a maximum norm
    return float(least) >= -_LARGEST and float(most) <= _LARGEST


def checked_items(items: Tensor, *, count: int | None = None) -> Tensor:
    """``items`` (N,) as int64 indices from 1, each once."""
    items = _indices(items, "items", ndim=1)
    if count is not None and len(items) != count:
        raise SearchError(f"There are {len(items)} items and {count} vectors. Give one vector for each item.")
    if len(items) and int(items.amin()) < 1:
        raise SearchError(f"Item indices run from 1; found {int(items.amin())} at row {int(items.argmin())}.")
    if bool((items[1:] > items[:-1]).all()):  # as they mostly are, and are not sorted then
        return items
    ordered = items.sort().values
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(again):
        raise SearchError(
            f"Each item comes once; {len(again)} of {len(items)} come again, such as item {int(again[0])}."
        )
    return items


def checked_filter(filter: Filter | None, *, requests: int, last_item: int) -> Filter:
    """``filter`` with int64 lists of B rows and a mask that has a place for every item of the index."""
    if filter is None or (filter.allowed is None and filter.exclude is None):
        return Filter()
    allowed, exclude = filter.allowed, filter.exclude
    if allowed is not None and allowed.dtype == torch.bool:
        if allowed.ndim != 1 or len(allowed) <= last_item:
            raise SearchError(
                f"The mask of allowed items has the shape {tuple(allowed.shape)}, and the index holds items up to {last_item}. "
                f"It has one value for each index from 0: {last_item + 1} or more."
            )
        allowed = allowed.to("cpu")
    elif allowed is not None:
        allowed = _lists(allowed, "filter.allowed", requests)
    return Filter(allowed, None if exclude is None else _lists(exclude, "filter.exclude", requests))


def checked_count(k: int) -> int:
    """``k``, how many items are asked for: a whole number from 1."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise SearchError(f"k is {k!r}. It is a whole number from 1.")
    return k


def stored(arrays: dict[str, Tensor], name: str, dtype: torch.dtype, *, ndim: int) -> Tensor:
    """One array of a saved index, after a look at its type and number of dimensions."""
    if name not in arrays:
        raise SearchError(f"A saved index of this kind has an array {name!r}. Found: {', '.join(arrays) or 'none'}.")
    array = arrays[name]
    if array.dtype != dtype or array.ndim != ndim:
        raise SearchError(
            f"The array {name!r} of a saved index has {ndim} dimensions of {dtype}; found {array.ndim} of {array.dtype}."
        )
    return array.detach().to("cpu").contiguous()


def _lists(indices: Tensor, what: str, requests: int) -> Tensor:
    indices = _indices(indices, what, ndim=2)
    if len(indices) != requests:
        raise SearchError(
            f"{what} has {len(indices)} rows for {requests} requests. Give one row for each, padded with 0."
        )
    if indices.numel() and int(indices.amin()) < 0:
        raise SearchError(f"{what} holds the item {int(indices.amin())}. Indices run from 1, and 0 is padding.")
    return indices


def _indices(indices: Tensor, what: str, *, ndim: int) -> Tensor:
    if indices.ndim != ndim or indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise SearchError(
            f"{what} is {indices.dtype} of shape {tuple(indices.shape)}. It holds integers in {ndim} dimension{'s'[: ndim - 1]}."
        )
    indices = indices.detach().to(device="cpu", dtype=torch.int64)
    if indices.numel() and int(indices.amax()) > _LAST_ITEM:
        raise SearchError(f"{what} holds the item {int(indices.amax())}. Indices are dense and end before 2^31.")
    return indices
