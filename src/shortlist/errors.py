"""The errors a user can cause: each says what is wrong, where, what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import get_args


class ShortlistError(Exception):
    """Base of every error that is the caller's to mend; anything else that escapes is our bug."""


class SchemaError(ShortlistError):
    """A column is missing, doubled or of the wrong kind."""


class DataError(ShortlistError):
    """A file or frame cannot be read, or its values make no sense."""


class SettingsError(ShortlistError):
    """A setting has an unknown name or a value outside its range."""


class TrainingError(ShortlistError):
    """Training cannot start or cannot go on."""


class SearchError(ShortlistError):
    """An index was asked something it cannot answer."""


class RequestError(ShortlistError):
    """A recommendation request is malformed."""


class BundleError(ShortlistError):
    """A bundle is damaged, foreign, too new or cannot be written."""


class ExportError(ShortlistError):
    """A bundle cannot be exported, or what was written does not compute the same."""


class MissingExtraError(ShortlistError):
    """An optional library is needed and not installed."""


class StateError(ShortlistError):
    """The durable state of the service cannot do what was asked; nothing of it was kept."""


class StateFull(StateError):
    """There is no room to store more: the disk, a quota or Redis's memory is full. Reading goes on."""


class StateUnavailable(StateError):
    """The state cannot be reached, is locked for too long, is damaged or no state of this kind."""


class ShortlistWarning(UserWarning):
    """Something was dropped, clipped or replaced; the message counts it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name a mistyped one probably meant.

    >>> nearest("embeding_dim", ["embedding_dim", "epochs"])
    " Did you mean 'embedding_dim'?"
    >>> nearest("zzz", ["epochs"])
    ''
    """
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def check_choices(settings: object, choices: Mapping[str, object]) -> None:
    """Refuse a setting that is none of the values its ``Literal`` type lists, with the nearest right one."""
    for name, literal in choices.items():
        value, known = getattr(settings, name), get_args(literal)
        if value not in known:
            raise SettingsError(
                f"{type(settings).__name__}.{name} is {value!r}. It is one of: {', '.join(known)}."
                f"{nearest(str(value), known)}"
            )


def check_ranges(
    settings: object,
    *,
    whole: Iterable[str] = (),
    shares: Iterable[str] = (),
    above_0: Iterable[str] = (),
    from_0: Iterable[str] = (),
) -> None:
    """Refuse settings outside their range: of 1 or more (``whole``), from 0 to below 1 (``shares``), and so on."""
    ranges: tuple[tuple[Iterable[str], str, Callable[[float], bool]], ...] = (
        (whole, "a whole number of 1 or more", lambda value: isinstance(value, int) and value >= 1),
        (shares, "a share from 0 to below 1", lambda value: 0 <= value < 1),
        (above_0, "a number above 0", lambda value: value > 0),
        (from_0, "a number of 0 or more", lambda value: value >= 0),
    )
    for names, allowed, holds in ranges:
        for name in names:
            if not holds(getattr(settings, name)):
                raise SettingsError(
                    f"{type(settings).__name__}.{name} is {getattr(settings, name)!r}. It is {allowed}."
                )
