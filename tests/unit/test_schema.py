"""What columns mean, and what is said when that makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from shortlist.errors import SchemaError
from shortlist.schema import Feature, Schema


def test_a_schema_survives_plain_values() -> None:
    schema = Schema(item_id="sku", timestamp="when", features=(Feature("tags", "multi", "item", separator="|"),))
    assert Schema.from_dict(schema.to_dict()) == schema
    assert [feature.name for feature in schema.of("item")] == ["tags"]
    assert schema.of("user") == ()


def test_sessions_are_grouped_by_their_own_column() -> None:
    assert Schema(sequence="session", session_id="visit").sequence_id == "visit"
    with pytest.raises(SchemaError, match=r"schema\.session_id"):
        Schema(sequence="session")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"timestmp": "t"}, "Did you mean 'timestamp'"),
        ({"features": [{"name": "a", "kind": "categorical", "ownr": "item"}]}, "Did you mean 'owner'"),
        ({"features": [{"name": "a"}]}, "has no kind, owner"),
        ({"features": [{"name": "a", "kind": "categorial", "owner": "item"}]}, "kind 'categorial'"),
        ({"features": [{"name": "a", "kind": "numeric", "owner": "shop"}]}, "owner 'shop'"),
        ({"features": [{"name": "a", "kind": "numeric", "owner": "item"}] * 2}, "named twice"),
        ({"sequence": "visit"}, "user, session"),
    ],
)
def test_a_mistake_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Schema.from_dict(values)
