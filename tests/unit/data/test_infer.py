from __future__ import annotations

import polars as pl
import pytest

from shortlist.data import infer_schema, read_table
from shortlist.errors import SchemaError
from shortlist.schema import Feature, Schema

EVENTS = pl.DataFrame({"visitorid": [1], "itemid": [2], "ts": [3], "stars": [4], "device": ["tv"]})
ITEMS = pl.DataFrame(
    {
        "id": range(100),
        "Name": [f"thing {number}" for number in range(100)],
        "brand": ["a", "b"] * 50,
        "colour_id": [number % 40 for number in range(100)],
        "price": [number / 7 for number in range(100)],
        "stock": range(100),
        "used": [True, False] * 50,
        "tags": ["x|y", "z"] * 50,
        "parts": [[1, 2], [3]] * 50,
        "vector": [[0.1, 0.2]] * 100,
        "text": [f"words {number}" for number in range(100)],
        "shop": ["one"] * 100,
    }
)


def infer(events, *, items=None, users=None, given=None):
    tables = [
        None if frame is None else read_table(frame, name=name) for frame, name in ((items, "items"), (users, "users"))
    ]
    return infer_schema(read_table(events), items=tables[0], users=tables[1], given=given)


def test_usual_names_are_found_and_noted():
    schema, notes = infer(EVENTS)
    assert (schema.user_id, schema.item_id, schema.timestamp, schema.rating) == ("visitorid", "itemid", "ts", "stars")
    assert notes[0] == "events: using 'visitorid' as user_id, 'itemid' as item_id, 'ts' as timestamp, 'stars' as rating"
    assert notes[1].startswith("events: not used: device (")


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [
        ("userId", "movieId", "timestamp"),
        ("customer_id", "asin", "date"),
        ("User ID", "SKU", "event_time"),
        ("uid", "iid", "unixReviewTime"),
    ],
)
def test_names_of_many_data_sets_are_known(user, item, time):
    schema, _ = infer(pl.DataFrame({user: [1], item: [2], time: [3]}))
    assert (schema.user_id, schema.item_id, schema.timestamp) == (user, item, time)


def test_the_likeliest_of_several_names_wins():
    schema, _ = infer(pl.DataFrame({"user": ["Ann"], "user_id": [1], "item_id": [2], "date": [3], "timestamp": [4]}))
    assert (schema.user_id, schema.timestamp) == ("user_id", "timestamp")


def test_item_columns_become_features_by_their_values_and_others_are_named_with_the_reason():
    schema, notes = infer(EVENTS, items=ITEMS)
    assert {feature.name: feature.kind for feature in schema.of("item")} == {
        "brand": "categorical",
        "colour_id": "categorical",
        "price": "numeric",
        "stock": "numeric",
        "used": "categorical",
        "tags": "multi",
        "parts": "multi",
        "vector": "vector",
    }
    assert schema.title == "Name"
    left_out = next(note for note in notes if "left out" in note)
    assert "text (nearly every row has another value)" in left_out
    assert "shop (it has one value)" in left_out


def test_texts_to_be_read_vectors_and_pictures_are_told_from_names_and_codes(tmp_path):
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "0.npy").write_bytes(b"")
    rows = range(100)
    columns = {
        "about": [f"this is a long description of thing {row}" for row in rows],
        "slogan": ["buy two of them and get one more", "one of a kind, and never seen before"] * 50,
        "array": pl.Series([[0.5, row] for row in rows], dtype=pl.Array(pl.Float32, 2)),
        "ragged": [[0.5] * (1 + row % 2) for row in rows],
        "bytes": [b"\x89PNG and so on"] * 100,
        "blob": [b"anything"] * 100,
        "file": [str(tmp_path / f"{row}.png") for row in rows],
        "vector_file": [str(tmp_path / f"{row}.npy") for row in rows],
        "lost": [f"nowhere/{row}.JPG" for row in rows],
    }
    schema, notes = infer(EVENTS, items=pl.DataFrame({"itemid": rows, **columns}))
    assert {feature.name: feature.kind for feature in schema.of("item")} == {
        "about": "text",
        "slogan": "categorical",
        "array": "vector",
        "bytes": "image",
        "file": "image",
        "vector_file": "vector",
    }
    left_out = next(note for note in notes if "left out" in note)
    for words in (
        "ragged (its lists of numbers differ",
        "blob (its bytes are no",
        "lost (there is no file nowhere/0.JPG)",
    ):
        assert words in left_out


def test_columns_of_the_events_become_context_only_when_named():
    assert infer(EVENTS)[0].of("context") == ()
    schema, notes = infer(EVENTS, given={"features": [{"name": "device", "kind": "categorical", "owner": "context"}]})
    assert schema.of("context") == (Feature("device", "categorical", "context"),)
    assert not any("not used" in note for note in notes)


def test_single_roles_are_overridden_and_switched_off():
    schema, _ = infer(EVENTS, given={"rating": None, "timestamp": "device"})
    assert schema.rating is None
    assert schema.timestamp == "device"
    assert schema.user_id == "visitorid"


def test_a_named_feature_replaces_the_guessed_one_and_others_stay():
    schema, _ = infer(EVENTS, items=ITEMS, given={"features": [Feature("stock", "categorical", "item", min_count=2)]})
    kinds = {feature.name: feature for feature in schema.of("item")}
    assert kinds["stock"] == Feature("stock", "categorical", "item", min_count=2)
    assert kinds["brand"].kind == "categorical"


def test_a_whole_schema_is_taken_as_it_is():
    given = Schema(user_id="visitorid", item_id="itemid")
    assert infer(EVENTS, items=ITEMS, given=given) == (given, ())


def test_events_without_users_are_sessions():
    schema, notes = infer(pl.DataFrame({"session_id": [1], "item_id": [2]}))
    assert (schema.sequence, schema.sequence_id) == ("session", "session_id")
    assert "events: no user column, so a row of the data set is a session" in notes


def test_users_may_be_grouped_by_session():
    frame = pl.DataFrame({"user_id": [1], "session_id": [5], "item_id": [2]})
    assert infer(frame)[0].sequence_id == "user_id"
    assert infer(frame, given={"sequence": "session"})[0].sequence_id == "session_id"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timestmp": "ts"}, r"schema has no entry 'timestmp'\. Did you mean 'timestamp'\? Entries: item_id, user_id"),
        (
            {"timestamp": "time"},
            r'events has no column \'time\'\. Columns found: visitorid, itemid, ts, stars, device\. Rename it, or set schema\.timestamp = "ts"\.',
        ),
        ({"rating": "staars"}, r'events has no column \'staars\'.*set schema\.rating = "stars"'),
        ({"weight": "mass"}, r"events has no column 'mass'.*set schema\.weight to the name it has"),
        ({"item_id": "itemid", "user_id": "itemid"}, r"are both 'itemid'\. Each needs its own column"),
        ({"sequence": "session"}, r"sequence = 'session' needs a column: set schema\.session_id to its name"),
        ({"sequence": "week"}, r"sequence is 'week'\. It is one of: user, session"),
        (
            {"positive": "starz > 3"},
            r"schema\.positive = \"starz > 3\" uses 'starz', which events does not have\. Did you mean 'stars'\?",
        ),
        ({"positive": "stars >>= 3"}, r"schema\.positive = \"stars >>= 3\" is not a condition in SQL"),
        (
            {"features": [{"name": "device", "kind": "categorical", "ownr": "context"}]},
            r"A feature has no entry 'ownr'\. Did you mean 'owner'",
        ),
        ({"features": [{"name": "device", "kind": "categorical"}]}, r"lacks 'owner'"),
        (
            {"features": [Feature("devise", "categorical", "context")]},
            r"events has no column 'devise'.* Did you mean 'device'\?",
        ),
        (
            {"features": [Feature("brand", "categorical", "item")]},
            r"Feature 'brand' is an item feature, and no items table is given",
        ),
    ],
)
def test_mistakes_in_a_schema_are_named(given, message):
    with pytest.raises(SchemaError, match=message):
        infer(EVENTS, given=given)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["a", "b"],
            r'events has no column that looks like an item_id\. Columns found: a, b\. Rename one, or set schema\.item_id = "its name"\.',
        ),
        (["item", "b"], r"events has no column that looks like a user_id\. Columns found: item, b"),
        (["196", "242", "3", "881250949"], r"The first line looks like data: add a header line"),
    ],
)
def test_events_without_the_needed_columns_are_refused(columns, message):
    with pytest.raises(SchemaError, match=message):
        infer(pl.DataFrame({name: [1] for name in columns}))


def test_an_item_table_without_an_id_column_is_refused():
    with pytest.raises(
        SchemaError,
        match=r"items has no column 'itemid'\. Columns found: thing\. Give its id column the name it has in the events",
    ):
        infer(EVENTS, items=pl.DataFrame({"thing": [1]}))
