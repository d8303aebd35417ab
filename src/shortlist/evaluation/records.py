"""Frozen records to plain values for JSON, and back: a figure that does not exist (NaN) is written as None."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Records and mappings to dicts, tuples to lists, NaN to None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def rebuilt(kind: Any, value: Any) -> Any:
    """The value of type ``kind`` that :func:`plain` made ``value`` of; ``TypeError`` or ``KeyError`` where it made none such.

    >>> rebuilt(tuple[float, ...], [0.5, None])
    (0.5, nan)
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else rebuilt(arguments[0], value)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(rebuilt(part_kind, part) for part_kind, part in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {name: rebuilt(arguments[1], part) for name, part in value.items()}
    if dataclasses.is_dataclass(kind):
        fields = get_type_hints(kind)
        made: Any = kind
        return made(**{name: rebuilt(fields[name], part) for name, part in value.items()})
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"found {value!r} where a {kind.__name__} belongs")
    return value
