"""Changes of items, as a service is told them, to a recommender that knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from shortlist.contracts import Features
from shortlist.data.dataset import Dataset
from shortlist.errors import DataError, RequestError, ShortlistError
from shortlist.recommender import Recommender
from shortlist.schema import Feature
from shortlist.service.generation import Generation
from shortlist.service.state import ItemChange, State

_FARTHEST = 1e9  # standard deviations of a number from the mean
KEPT_S = 7 * 86_400  # changes older than a bundle by this are taken as known to its table of items


def changes_to_apply(state: State, generation: Generation) -> list[ItemChange]:
    """The changes that a generation does not know, the last one of each item, by revision.

    Those said a week or more before the items of the bundle were indexed are left out: its table of items knows better.
    """
    last: dict[str, ItemChange] = {}
    since = generation.recommender.made.indexed or 0.0
    for change in state.item_changes(after=generation.revision):
        if generation.revision or change.received > since - KEPT_S:
            last[change.item_id] = change
    return sorted(last.values(), key=lambda change: change.revision)


def with_changes(
    recommender: Recommender, changes: Sequence[ItemChange]
) -> tuple[Recommender, list[tuple[ItemChange, str]]]:
    """The recommender with all changes; those that do not fit it (a bundle of other columns) are left out and told why.

    Whatever is wrong with one of them is no reason to be without the others.
    """
    try:
        return _changed(recommender, changes), []
    except Exception as error:
        if len(changes) == 1:
            return recommender, [(changes[0], str(error) if isinstance(error, ShortlistError) else repr(error))]
    wrong: list[tuple[ItemChange, str]] = []
    for change in changes:
        recommender, problem = with_changes(recommender, [change])
        wrong += problem
    return recommender, wrong


def rows_of(recommender: Recommender, items: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The checked rows of PUT /items by the ids of their items; a row that could not be used is a :class:`DataError`."""
    column = recommender.dataset.schema.item_column
    ids = [row.get(column) for row in items]
    for place, item in enumerate(ids):
        if isinstance(item, bool) or not isinstance(item, int | str) or item == "":
            raise RequestError(f"items[{place}] has no {column!r}. Each row names its item by a number or a text.")
    if len(set(map(str, ids))) < len(ids):
        raise RequestError("An item comes twice in one call. Give each once.")
    _check(recommender.dataset, items, ids)
    return [(str(item), dict(row)) for item, row in zip(ids, items, strict=True)]


def _check(dataset: Dataset, items: Sequence[Mapping[str, Any]], ids: Sequence[Any]) -> None:
    """Refuse rows that a recommender could not be refreshed with."""
    schema, encoders = dataset.schema, dataset.encoders
    stated = [feature.name for feature in schema.of("item")] + ([] if schema.title is None else [schema.title])
    for place, row in enumerate(items):
        missing = [name for name in stated if name not in row]
        if missing:
            raise RequestError(
                f"items[{place}] lacks columns that the items had: {', '.join(missing)}. Give null where one is not known."
            )
        for feature in schema.of("item"):
            _check_value(row[feature.name], feature, place)
    texts = [item for item in ids if isinstance(item, str) and not item.removeprefix("-").isdecimal()]
    if texts and encoders.items.is_integer and dataset.num_items:
        raise RequestError(f"The item {texts[0]!r} is named by a text, and the ids known so far are whole numbers.")
    frame = _frame(items)
    if encoders.item_features is not None:
        _check_size(encoders.item_features.encode(frame))
    if dataset.item_table is not None:
        dataset.item_table.told(frame)


def _check_size(features: Features) -> None:
    """Refuse numbers so far out that a network's sums would overflow."""
    for table in (features.numeric, features.vectors):
        if table is not None and not bool((table.abs() <= _FARTHEST).all()):
            place = int((~(table.abs() <= _FARTHEST)).any(1).nonzero()[0])
            raise RequestError(
                f"items[{place}] has a number that is more than {_FARTHEST:g} times as far from the mean as numbers are. Mend "
                "it, or give null."
            )


def _check_value(value: Any, feature: Feature, place: int) -> None:
    """Refuse a value of another kind than the feature's; a request names no files of this machine."""
    wanted, is_right = {
        "numeric": ("a number", isinstance(value, int | float)),
        "categorical": ("a text or a number", isinstance(value, str | int | float)),
        "text": ("a text", isinstance(value, str)),
        "multi": (
            "a list of texts or numbers, or a text",
            isinstance(value, str) or _are(value, str | int | float | None),
        ),
        "vector": ("a list of numbers", _are(value, int | float)),
    }.get(
        feature.kind,
        (f"no {feature.kind}, which cannot be sent as JSON: refresh the bundle with a file instead", False),
    )
    if value is not None and not is_right:
        raise RequestError(f"items[{place}].{feature.name} is {str(value)[:50]!r}. It takes {wanted}, or null.")


def _are(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _changed(recommender: Recommender, changes: Sequence[ItemChange]) -> Recommender:
    rows = [change.columns for change in changes if change.columns is not None]
    gone = [change.item_id for change in changes if change.columns is None]
    known = recommender.dataset.encoders.items.encode(gone).tolist() if gone else []
    remove = [item for item, index in zip(gone, known, strict=True) if index]
    if not rows and not remove:
        return recommender
    return recommender.refresh(_frame(rows) if rows else None, remove=remove)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    try:
        return pl.DataFrame(list(rows), infer_schema_length=None)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"The items are no table: {error}. The values of a column are of one kind.") from error
