from __future__ import annotations

import json

import polars as pl
import pytest
import torch

from shortlist.data import Encoders, FeatureEncoder
from shortlist.data.titles import Titles
from shortlist.errors import DataError, SchemaError
from shortlist.schema import Feature
from shortlist.texts import Texts
from shortlist.vocabulary import Vocabulary

BRAND = Feature("brand", "categorical", "item")
TAGS = Feature("tags", "multi", "item", separator="|")
PRICE = Feature("price", "numeric", "item")


def rows(ragged):
    return [ragged.values[start:stop].tolist() for start, stop in zip(ragged.offsets, ragged.offsets[1:], strict=False)]


def test_all_fields_share_one_id_space_and_unknown_values_are_each_fields_first_id():
    frame = pl.DataFrame({"brand": ["b", "a", "b"], "tags": ["x|y", "y", ""]})
    encoder = FeatureEncoder.fit(frame, (TAGS, BRAND))
    assert encoder.layout.categorical == (3,)
    assert encoder.layout.multi == (3,)
    encoded = encoder.encode(pl.DataFrame({"brand": ["a", "z", None], "tags": ["y|x|y", "new| x ", None]}))
    assert encoded.categorical.tolist() == [[1], [0], [0]]
    assert rows(encoded.multi[0]) == [[5, 4], [3, 4], []]


def test_numbers_are_standardised_by_what_was_fitted():
    encoder = FeatureEncoder.fit(pl.DataFrame({"price": [1, 3]}), (PRICE,))
    assert encoder.encode(pl.DataFrame({"price": [5.0, 2.0]})).numeric.tolist() == [[3.0], [0.0]]


def test_a_missing_number_is_the_mean_and_is_flagged_only_if_the_fit_missed_some():
    with_gaps = FeatureEncoder.fit(pl.DataFrame({"price": [1, 3, None]}), (PRICE,))
    without = FeatureEncoder.fit(pl.DataFrame({"price": [1, 3]}), (PRICE,))
    asked = pl.DataFrame({"price": [None, 3.0, float("nan")]})
    assert with_gaps.layout.numeric == 2
    assert with_gaps.encode(asked).numeric.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert without.encode(asked).numeric.tolist() == [[0.0], [1.0], [0.0]]


def test_a_constant_number_is_zero_everywhere():
    encoder = FeatureEncoder.fit(pl.DataFrame({"price": [7, 7]}), (PRICE,))
    assert encoder.encode(pl.DataFrame({"price": [7]})).numeric.tolist() == [[0.0]]


def test_missing_columns_are_unknown():
    encoder = FeatureEncoder.fit(
        pl.DataFrame(
            {
                "brand": ["a"],
                "tags": ["x"],
                "price": [
                    1,
                ],
            }
        ),
        (BRAND, TAGS, PRICE),
    )
    encoded = encoder.encode(pl.DataFrame({"other": [1, 2]}))
    assert encoded.categorical.tolist() == [[0], [0]]
    assert rows(encoded.multi[0]) == [[], []]
    assert encoded.numeric.tolist() == [[0.0], [0.0]]


def test_a_value_is_the_same_as_number_as_text_and_in_a_column_with_gaps():
    encoder = FeatureEncoder.fit(pl.DataFrame({"brand": [3, 7]}), (BRAND,))
    for values in (["7", "3"], [7, 3], [7.0, 3.0]):
        assert encoder.encode(pl.DataFrame({"brand": values})).categorical.tolist() == [[2], [1]]


def test_rare_values_are_unknown():
    encoder = FeatureEncoder.fit(
        pl.DataFrame({"brand": ["a", "a", "b"]}), (Feature("brand", "categorical", "item", min_count=2),)
    )
    assert encoder.encode(pl.DataFrame({"brand": ["a", "b"]})).categorical.tolist() == [[1], [0]]


def test_lists_of_numbers_and_of_text_are_multi_hot():
    encoder = FeatureEncoder.fit(pl.DataFrame({"tags": [[1, 2], []]}), (Feature("tags", "multi", "item"),))
    assert rows(encoder.encode(pl.DataFrame({"tags": [["2"], ["1", "9"]]})).multi[0]) == [[2], [1, 0]]


def test_dates_are_numbers():
    frame = pl.DataFrame({"price": ["2024-01-01", "2024-01-03"]}).with_columns(pl.col("price").str.to_date())
    assert FeatureEncoder.fit(frame, (PRICE,)).encode(frame).numeric.tolist() == [[-1.0], [1.0]]


def test_no_rows_give_empty_tables():
    frame = pl.DataFrame({"brand": ["a"], "tags": ["x"], "price": [1]})
    encoded = FeatureEncoder.fit(frame, (BRAND, TAGS, PRICE)).encode(frame.head(0))
    assert len(encoded) == 0
    assert encoded.multi[0].offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("inf")], r"Feature 'price' is inf in row 2\. Numbers must be finite"),
        ([float("nan")], r"Feature 'price' is nan in row 1"),
        (["1", "cheap"], r"Feature 'price' is numeric, and row 2 has 'cheap'"),
        ([[1.0]], r"Feature 'price' holds List\(Float64\)\. Make its kind \"multi\""),
    ],
)
def test_what_is_no_finite_number_is_refused_when_fitting(values, message):
    with pytest.raises(DataError, match=message):
        FeatureEncoder.fit(pl.DataFrame({"price": values}), (PRICE,))


def test_encoders_come_back_equal_from_json_and_arrays():
    frame = pl.DataFrame({"brand": ["a", "b"], "tags": ["x|y", "y"], "price": [1.1, None]})
    encoder = FeatureEncoder.fit(frame, (BRAND, TAGS, PRICE))
    encoders = Encoders(Vocabulary([1, 2]), Vocabulary(["é", "b"]), None, encoder, None, Titles(Texts.of(["Été", "B"])))
    again = Encoders.from_dict(json.loads(json.dumps(encoders.to_dict())), encoders.arrays())
    assert again == encoders
    assert torch.equal(again.item_features.encode(frame).numeric, encoder.encode(frame).numeric)
    assert (
        Encoders(Vocabulary([1, 3]), Vocabulary(["é", "b"]), None, encoder, None, Titles(Texts.of(["Été", "B"])))
        != encoders
    )


def test_counts_may_be_standardised_by_their_logarithm():
    """log(1 + x) of 0 and e - 1 is 0 and 1, what is below 0 counts as 0."""
    views = Feature("views", "numeric", "item", transform="log")
    encoder = FeatureEncoder.fit(pl.DataFrame({"views": [0.0, 1.718281828]}), (views,))
    found = encoder.encode(pl.DataFrame({"views": [-5.0, 0.0, 1.718281828]})).numeric
    torch.testing.assert_close(found, torch.tensor([[-1.0], [-1.0], [1.0]]))


def test_quantiles_make_a_number_a_category():
    price = Feature("price", "numeric", "item", transform="quantiles", buckets=4)
    frame = pl.DataFrame({"price": [float(value) for value in range(1, 101)]})
    encoder = FeatureEncoder.fit(frame, (price, BRAND))
    assert encoder.layout.categorical == (5, 1)
    assert encoder.layout.numeric == 0
    parts = encoder.encode(frame).categorical[:, 0]
    assert torch.bincount(parts).tolist() == [0, 25, 25, 25, 25]
    odd = encoder.encode(pl.DataFrame({"price": [None, -7.0, 1e9, float("nan")]})).categorical[:, 0]
    assert odd.tolist() == [0, 1, 4, 0]


def test_hashed_values_need_no_fit_and_stay_where_they_are():
    brand = Feature("brand", "categorical", "item", buckets=50)
    one = FeatureEncoder.fit(pl.DataFrame({"brand": ["a"]}), (brand,))
    other = FeatureEncoder.fit(pl.DataFrame({"brand": ["x", "y"]}), (brand,))
    asked = pl.DataFrame({"brand": ["a", "never seen", None]})
    assert one.layout.categorical == (51,)
    assert torch.equal(one.encode(asked).categorical, other.encode(asked).categorical)
    assert (one.encode(asked).categorical[:, 0] > 0).tolist() == [True, True, False]


def test_encoders_of_every_kind_are_written_and_read():
    features = (
        BRAND,
        Feature("brand", "categorical", "user", buckets=9),
        Feature("price", "numeric", "item", transform="quantiles", buckets=3),
        Feature("price", "numeric", "user", transform="log"),
        TAGS,
    )
    frame = pl.DataFrame({"brand": ["b", "a", "b"], "tags": ["x|y", "y", ""], "price": [1.0, 5.0, None]})
    encoder = FeatureEncoder.fit(frame, features)
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())), encoder.arrays())
    assert again == encoder
    assert torch.equal(again.encode(frame).categorical, encoder.encode(frame).categorical)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"kind": "numeric", "transform": "logs"}, r"transform 'logs'\. Did you mean 'log'"),
        ({"kind": "categorical", "transform": "log"}, r"is categorical, and transform = 'log' is for numbers"),
        ({"kind": "categorical", "buckets": 1}, r"has 1 buckets\. Give 2 or more"),
        ({"kind": "numeric", "buckets": 8}, r"is numeric and has buckets"),
    ],
)
def test_a_transform_that_makes_no_sense_is_refused(stated, message):
    with pytest.raises(SchemaError, match=message):
        Feature(name="x", owner="item", **stated)
