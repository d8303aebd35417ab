"""Whatever is sent, by whomever: an answer or the caller's mistake, never ours, and never a dead server."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import LONG, Client, Service

EXAMPLES = 1_700 if LONG else 150  # bodies of each kind: of six kinds 10,200
FINE = {*range(200, 300), *range(400, 500)}

exploring = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)

# Values as careless and as hostile callers send them: those of the first group are of the right type.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", "\x00", "ﬀ", "²", "٣", "-", "--1", "1e5", "null", "i0001", "u0001", "-9223372036854775809", "1" * 30]
)
whole = st.integers(-3, 1_000) | st.integers(-(2**63), 2**63 - 1)

odd_texts = st.text(max_size=5_000) | st.sampled_from(["\ud800", "\udfff\ud800", "a" * 501])
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([2**31, 2**32, 2**63, 2**64, 10**40, -(2**37), 2**38, 1e308, -0.0, 1e-320]),
)
scalars = st.one_of(st.none(), st.booleans(), whole, numbers, texts, odd_texts)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
deep = st.integers(1, 3_000).map(lambda depth: Deep("[" * depth + "]" * depth))


class Deep(str):
    """JSON that stands for itself."""

    __slots__ = ()


ids = st.sampled_from([f"i{number:04d}" for number in range(20)]) | texts | whole
users = st.sampled_from([f"u{number:04d}" for number in range(20)]) | texts | whole
moments = st.integers(0, 2**31) | st.none() | st.integers(-(2**37), 2**38)
prices = st.floats(0, 100) | st.none() | st.integers(-(2**31), 2**31) | st.floats(allow_nan=False, allow_infinity=False)
CONDITIONS = [
    "price < 5", "category = 'tea'", "price < 'a'", "1 = 1", "true", "false", "null", "price", "price / 0 > 1", "not price", "price is null",
    "category like '%a%'", "category similar to '('", "regexp_like(category, '(a+)+$')", "price in (1, 2)", "price in (select 1)",
    "exists (select 1)", "price < (select max(price) from self)", "sum(price) > 3", "row_number() over () < 3", "price < 5 limit 3",
    "price < 5; drop table items", "price < 5 --", "price < 5 union select 1", "read_csv('/etc/passwd') is null", "\"price\" < 5", "`price` < 5",
    "price between 1 and", "(((((price < 5)))))", "case when price < 5 then true end", "price::text = 'a'", "cast(price as date) > '2020-01-01'",
    "title = 'x' or 1", "-price < 0", "price < 1e999", "price < 99999999999999999999999999", "category = 'te''a'", "category = 'a", "brand = 1",
    "substr(category, -1, 99999999999) = 'a'", "repeat(category, 1000000000) = 'a'", "lpad(category, 1000000000, 'x') = 'a'", "price ** 99999 > 1",
    "price < 5 order by 1", "count(*) > 1", "price = any(array[1,2])", "interval '1 day' > 1", "price % 0 = 1", "category[1] = 'a'", "date 'x' > 1",
    "(" * 900 + "price < 5" + ")" * 900, "not " * 450 + "price < 5", "- " * 900 + "price < 5", " or ".join(["price < 5"] * 150), "price" + "+1" * 900 + " > 5",
    "cast(price as decimal(99,99)) > 1", "round(price, 99999) > 1", "replace(replace(title, '', title), '', title) = 'a'", "mod(release_day, 0) = 1",
    "release_day % 0 = 1", "release_day * 9223372036854775807 > 1", "array_to_string(array_agg(title), title) = title", "columns('.*') is null",
    "regexp_like(title, '(a{1000}){1000}')", "title like '%' and title ilike '%_%_%_%'", "left(title, 99999999999) = 'a'", "right(title, -99999999999) = 'a'",
    "array_contains(tags, 'red')", "array_length(tags) > 1", "tags = 'red'", "tags[-99999999999] = 'a'", "look[0] > 1", "note = 'a'", "cast(title as timestamp) > 1",
]  # fmt: skip
conditions = st.sampled_from(CONDITIONS) | st.lists(st.sampled_from(CONDITIONS), min_size=2, max_size=5).map(
    " and ".join
)
conditions |= st.lists(
    st.sampled_from(
        [
            "price",
            "category",
            "<",
            ">",
            "=",
            "(",
            ")",
            "and",
            "or",
            "not",
            "'",
            '"',
            ",",
            "1",
            "null",
            "select",
            "from",
            "case",
            "when",
        ]
    ),
    max_size=12,
).map(" ".join)
conditions |= st.sampled_from(CONDITIONS[:14])
days = st.integers(0, 400) | st.none() | whole
event = st.fixed_dictionaries({"item_id": ids}, optional={"timestamp": moments})
reported = st.fixed_dictionaries(
    {"user_id": users, "item_id": ids}, optional={"timestamp": moments, "event_id": texts.filter(bool) | st.none()}
)
row = st.fixed_dictionaries(
    {
        "item_id": ids, "title": texts, "category": texts | st.none(), "brand": texts, "price": prices, "tags": st.lists(texts, max_size=3) | st.none(),
        "note": texts | st.none(), "look": st.lists(st.floats(-9, 9), min_size=2, max_size=2) | st.none(), "colour": texts, "release_day": days,
    },
    optional={"more": anything},
)  # fmt: skip
contexts = st.none() | st.fixed_dictionaries({}, optional={"device": texts | st.just("tv"), "speed": prices})
BODIES: dict[str, tuple[str, str, st.SearchStrategy[Any]]] = {
    "recommend": (
        "POST",
        "/recommend",
        st.fixed_dictionaries(
            {},
            optional={
                "user_id": users | st.none(),
                "events": st.lists(event, max_size=6),
                "k": st.integers(1, 500),
                "items": st.lists(ids, max_size=6),
                "exclude": st.lists(ids, max_size=6),
                "where": conditions,
                "exclude_seen": st.booleans(),
                "context": contexts,
                "candidates": st.integers(1, 1_000),
                "diversity": st.floats(0, 1),
                "caps": st.dictionaries(
                    st.sampled_from(["category", "price", "title", "item_id"]), st.integers(1, 2**40), max_size=2
                ),
                "detail": st.booleans(),
            },
        ),
    ),
    "rank": (
        "POST",
        "/rank",
        st.fixed_dictionaries(
            {"items": st.lists(ids, min_size=1, max_size=6)},
            optional={"user_id": users, "events": st.lists(event, max_size=6), "context": contexts},
        ),
    ),
    "events": ("POST", "/events", st.fixed_dictionaries({"events": st.lists(reported, min_size=1, max_size=5)})),
    "items": (
        "PUT",
        "/items",
        st.fixed_dictionaries(
            {"items": st.lists(row, min_size=1, max_size=3, unique_by=lambda row: str(row["item_id"]))}
        ),
    ),
    "reload": ("POST", "/admin/reload", st.fixed_dictionaries({"bundle": texts | st.sampled_from(["/", "/etc", "."])})),
    "rollback": ("POST", "/admin/rollback", anything),
}


@st.composite
def near(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> bytes:
    """A body of the right form, or one with something wrong about it, or none at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return encoded(draw(anything))
    body = draw(valid)
    if kind in (2, 3):
        body = spoiled(draw, body)
    data = encoded(body)
    if kind == 4 and data:  # a byte is another, or the end is missing
        place = draw(st.integers(0, len(data) - 1))
        return data[:place] + draw(
            st.just(b"") | st.binary(min_size=1, max_size=1).map(lambda byte: byte + data[place + 1 :])
        )
    if kind == 5 and data.startswith(b"{") and len(data) > 2:  # every field twice
        return data[:-1] + b"," + encoded(draw(valid))[1:]
    return data


def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """The same with another value at some place, or one field too many."""
    if isinstance(value, dict) and draw(st.integers(0, 4)):
        name = draw(st.sampled_from([*value, "context", "user_id", "k", "where", "more"]))
        return {**value, name: spoiled(draw, value.get(name))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], spoiled(draw, value[place]), *value[place + 1 :]]
    return draw(anything | deep)


def encoded(value: Any) -> bytes:
    """JSON, with what Python's own module lets through besides."""
    if isinstance(value, Deep):
        return value.encode()
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(name).encode() + b":" + encoded(each) for name, each in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(encoded, value)) + b"]"
    return json.dumps(value).encode()


@pytest.mark.parametrize("route", BODIES)
def test_no_body_brings_a_server_to_a_mistake(
    service: Service, route: str, record_property: Callable[[str, object], None]
) -> None:
    method, path, valid = BODIES[route]
    client = Client(service.port)
    statuses: Counter[int] = Counter()

    @exploring
    @given(near(valid))
    def explore(body: bytes) -> None:
        status, answer = client.send(method, path, body)
        statuses[status] += 1
        assert status in FINE, (status, answer, body, service.told())
        if status == 200 and path in ("/recommend", "/rank"):
            assert all(math.isfinite(item["score"]) for item in answer["items"])

    with closing(client):
        explore()
    record_property("statuses", dict(sorted(statuses.items())))
    assert service.failures() == []
    assert statuses[400] > 0
