"""Column names and values to a :class:`Schema`; every guess is noted, and can be overridden."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from shortlist.data.conditions import parse_condition
from shortlist.data.guess import table_features
from shortlist.data.read import Table
from shortlist.errors import SchemaError, nearest
from shortlist.schema import Feature, Schema

ALIASES: Mapping[str, tuple[str, ...]] = {  # without case and punctuation; the likeliest first
    "user_id": (
        "userid", "user", "uid", "customerid", "customer", "visitorid", "visitor", "memberid", "member", "accountid",
        "clientid", "personid", "profileid", "reviewerid", "shopperid", "username",
    ),
    "item_id": (
        "itemid", "item", "iid", "movieid", "movie", "productid", "product", "asin", "parentasin", "sku", "articleid",
        "article", "trackid", "songid", "bookid", "isbn", "videoid", "newsid", "gameid", "businessid", "recipeid",
        "artistid", "contentid", "listingid", "goodsid", "offerid", "pageid", "urlid",
    ),
    "timestamp": (
        "timestamp", "ts", "time", "datetime", "date", "eventtime", "eventtimestamp", "eventdate", "createdat",
        "unixtime", "unixtimestamp", "unixreviewtime", "reviewtime", "clicktime", "purchasedate", "orderdate", "tdat",
    ),
    "rating": ("rating", "ratings", "score", "stars", "star", "overall", "ratingvalue"),
    "weight": ("weight", "sampleweight"),
    "label": ("label", "isclick", "isclicked", "clicked"),
    "event_type": ("eventtype", "event", "action", "actiontype", "behavior", "behaviour", "behaviortype", "interactiontype"),
    "session_id": ("sessionid", "session", "sid"),
    "title": ("title", "name", "itemtitle", "itemname", "movietitle", "producttitle", "productname"),
}  # fmt: skip
EVENT_ROLES = ("user_id", "item_id", "timestamp", "rating", "weight", "label", "event_type", "session_id")
NUMBERS_ONLY = ("rating", "weight", "label")


def infer_schema(
    events: Table,
    *,
    items: Table | None = None,
    users: Table | None = None,
    given: Mapping[str, Any] | Schema | None = None,
) -> tuple[Schema, tuple[str, ...]]:
    """Say what each column means, and in notes what was guessed.

    ``given`` overrides the guesses: a mapping such as ``{"timestamp": "when", "rating": None}`` role by role (its
    ``features`` replace guessed ones of the same name and add others), a :class:`Schema` altogether. Columns of the
    events become context features only where ``given`` says so. A missing column is a :class:`SchemaError`.

    >>> frame = pl.DataFrame({"userId": [1], "movieId": [2], "timestamp": [3]})
    >>> schema, notes = infer_schema(Table("ratings.csv", frame.lazy()))
    >>> schema.item_id, notes
    ('movieId', ("ratings.csv: using 'userId' as user_id, 'movieId' as item_id",))
    """
    if isinstance(given, Schema):
        check_schema(given, events, items=items, users=users)
        return given, ()
    overrides = _checked(given or {})
    roles, notes = _event_roles(events, overrides)
    features: list[Feature] = []
    if roles["item_id"] is None:
        named_by_hand = {feature.name for feature in overrides.get("features", ())}
        skip = {roles[role] for role in EVENT_ROLES} | {events.order} | named_by_hand
        features, more = table_features(events, "context", skip=skip)
        notes += [f"{events.name}: a table of rows without items", *more]
    title: str | None = None
    if items is not None:
        if "title" not in overrides:
            title = _find("title", [name for name, kind in items.columns.items() if kind == pl.String])
        shown = overrides.get("title", title)
        guessed, more = table_features(items, "item", skip={id_column(items, roles["item_id"] or "", "item_id"), shown})
        features += guessed
        notes += more
    if roles["item_id"] is None and (items is not None or users is not None):
        raise SchemaError(
            "A table of rows without items has no items or users table. Join their columns into the rows."
        )
    if users is not None and roles["user_id"] is not None:
        guessed, more = table_features(users, "user", skip={id_column(users, roles["user_id"], "user_id")})
        features += guessed
        notes += more
    named = {(feature.owner, feature.name): feature for feature in [*features, *overrides.get("features", ())]}
    sequence = "session" if roles["user_id"] is None and roles["item_id"] is not None else "user"
    if sequence == "session" and "sequence" not in overrides:
        notes.append(f"{events.name}: no user column, so a row of the data set is a session")
    schema = Schema.from_dict(
        {"sequence": sequence, "title": title, **roles, **overrides, "features": tuple(named.values())}
    )
    check_schema(schema, events, items=items, users=users)
    used = (
        {getattr(schema, role) for role in EVENT_ROLES}
        | {feature.name for feature in schema.of("context")}
        | {events.order}
    )
    if unused := [name for name in events.columns if name not in used]:
        notes.append(
            f"{events.name}: not used: {', '.join(unused)} (a rule in schema.positive may use them; "
            'as context, name one in schema.features with owner = "context")'
        )
    return schema, tuple(notes)


def id_column(table: Table, name: str, role: str) -> str:
    """The id column of an item or user table: called as in the events, or by another usual name."""
    if name in table.columns:
        return name
    found = _find(role, table.columns)
    if found is None:
        found = next((column for column in table.columns if _plain(column) == "id"), None)
    if found is None:
        raise SchemaError(
            f"{table.name} has no column {name!r}. Columns found: {', '.join(table.columns)}. Give its id column the name it has in the events."
        )
    return found


def check_schema(schema: Schema, events: Table, *, items: Table | None, users: Table | None) -> None:
    """Refuse a schema that names a column which is not there, or one column twice."""
    used: dict[str, str] = {}
    for role in EVENT_ROLES:
        column = getattr(schema, role)
        if column is None or (role == "user_id" and schema.sequence == "session" and column not in events.columns):
            continue
        if column not in events.columns:
            raise _missing(events, column, role)
        if column in used:
            raise SchemaError(
                f"schema.{used[column]} and schema.{role} are both {column!r}. Each needs its own column."
            )
        used[column] = role
    tables = {"context": events, "item": items, "user": users}
    for feature in schema.features:
        table = tables[feature.owner]
        if table is None:
            raise SchemaError(
                f"Feature {feature.name!r} is {_an(feature.owner)} feature, and no {feature.owner}s table is given. Give one."
            )
        if feature.name not in table.columns:
            raise SchemaError(
                f"{table.name} has no column {feature.name!r}, which schema.features names.{nearest(feature.name, table.columns)} "
                f"Columns found: {', '.join(table.columns)}."
            )
    if schema.title is not None and items is not None and schema.title not in items.columns:
        raise _missing(items, schema.title, "title")
    if schema.positive is not None:
        check_positive(schema.positive, events)


def check_positive(rule: str, events: Table) -> pl.Expr:
    """The rule for liked events as an expression over their columns."""
    return parse_condition(
        rule, events.columns, name="schema.positive", where=events.name, error=SchemaError, example="rating >= 4"
    )


def has_items(events: Table, given: Mapping[str, Any] | Schema | None) -> bool:
    """Whether the events have items; without, they are a table of labelled rows."""
    if isinstance(given, Schema):
        return given.item_id is not None
    return _event_roles(events, _checked(given or {}))[0]["item_id"] is not None


def _event_roles(events: Table, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    roles: dict[str, Any] = {}
    renamed: list[str] = []
    taken = {column for role, column in overrides.items() if role in EVENT_ROLES}
    for role in EVENT_ROLES:
        if role in overrides:
            roles[role] = overrides[role]
            continue
        usable = [
            name
            for name, kind in events.columns.items()
            if name not in taken and (role not in NUMBERS_ONLY or kind.is_numeric() or kind == pl.Boolean)
        ]
        roles[role] = _find(role, usable)
        if roles[role] is not None:
            taken.add(roles[role])
            if roles[role] != role:
                renamed.append(f"{roles[role]!r} as {role}")
    no_items = roles["item_id"] is None and (
        "item_id" in overrides or overrides.get("label") is not None or overrides.get("rating") is not None
    )
    if no_items:
        roles |= {"user_id": overrides.get("user_id"), "session_id": overrides.get("session_id"), "event_type": None}
        renamed = [text for text in renamed if not text.endswith(("user_id", "session_id", "event_type"))]
    for role in () if no_items else ("item_id", *(() if roles["session_id"] is not None else ("user_id",))):
        if roles[role] is None:
            example = "session_id" if role == "user_id" and overrides.get("sequence") == "session" else role
            headerless = (
                " The first line looks like data: add a header line."
                if any(_plain(name).isdigit() for name in events.columns)
                else ""
            )
            tabular = (
                ' Of a table of labelled rows without items, set schema.label = "its label".'
                if role == "item_id"
                else ""
            )
            raise SchemaError(
                f"{events.name} has no column that looks like {_an(example)}. Columns found: {', '.join(events.columns)}."
                f'{headerless} Rename one, or set schema.{example} = "its name".{tabular}'
            )
    return roles, [f"{events.name}: using {', '.join(renamed)}"] if renamed else []


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with features as objects; a typo is an error that names the nearest right key."""
    known = [field.name for field in dataclasses.fields(Schema)]
    for key in given:
        if key not in known:
            raise SchemaError(f"schema has no entry {key!r}.{nearest(key, known)} Entries: {', '.join(known)}.")
    if "features" not in given:
        return dict(given)
    entries = [field.name for field in dataclasses.fields(Feature)]
    features: list[Feature] = []
    for stated in given["features"]:
        if isinstance(stated, Feature):
            features.append(stated)
            continue
        for key in stated:
            if key not in entries:
                raise SchemaError(
                    f"A feature has no entry {key!r}.{nearest(key, entries)} Entries: {', '.join(entries)}."
                )
        if lacking := [key for key in ("name", "kind", "owner") if key not in stated]:
            raise SchemaError(
                f"The feature {dict(stated)} lacks {lacking[0]!r}. A feature has a name, a kind and an owner."
            )
        features.append(Feature(**stated))
    return {**given, "features": tuple(features)}


def _missing(table: Table, column: str, role: str) -> SchemaError:
    likely = _find(role, table.columns) or (nearest(column, table.columns).partition("'")[2].partition("'")[0] or None)
    remedy = f'set schema.{role} = "{likely}"' if likely else f"set schema.{role} to the name it has"
    return SchemaError(
        f"{table.name} has no column {column!r}. Columns found: {', '.join(table.columns)}. Rename it, or {remedy}."
    )


def _find(role: str, columns: Iterable[str]) -> str | None:
    names = {_plain(column): column for column in reversed(list(columns))}
    return next((names[alias] for alias in ALIASES[role] if alias in names), None)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())


def _an(role: str) -> str:
    return ("an " if role[0] in "aeio" else "a ") + role
