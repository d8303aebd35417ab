"""Texts to vectors: near for like texts, the same bits after a save, and clear words for a column without any."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch

from shortlist.data import FeatureEncoder
from shortlist.data.text_encoder import TfidfSVD
from shortlist.errors import DataError, SchemaError
from shortlist.schema import Feature

NOTE = Feature("note", "text", "item", dim=8)
TEXTS = [f"{colour} {thing} for the {place}" for colour in ("red", "blue", "green") for thing in ("shoes", "boots", "lamp", "chair")
         for place in ("garden", "house")]  # fmt: skip


def frame(*texts):
    return pl.DataFrame({"note": texts}, schema={"note": pl.String})


def cosine(encoder, one, other):
    vectors = torch.nn.functional.normalize(encoder.encode(pl.Series("note", [one, other]))[0], dim=1)
    return float(vectors[0] @ vectors[1])


def test_a_misspelt_or_inflected_word_is_near_the_right_one():
    encoder = TfidfSVD.fit(pl.Series("note", TEXTS), dim=8)
    assert encoder.width == 8
    assert cosine(encoder, "red shoes", "red shoe") > 0.9
    assert cosine(encoder, "green chair", "grean chairs") > cosine(encoder, "green chair", "blue boots") + 0.3


def test_a_text_has_the_same_vector_alone_and_among_others():
    encoder = FeatureEncoder.fit(frame(*TEXTS), (NOTE,))
    together = encoder.encode(frame(*TEXTS)).vectors
    for row in (0, 7, 23):
        assert torch.equal(encoder.encode(frame(TEXTS[row])).vectors[0], together[row])


def test_vectors_are_standardised_and_a_missing_text_is_the_mean():
    encoder = FeatureEncoder.fit(frame(*TEXTS, None), (NOTE,))
    vectors = encoder.encode(frame(*TEXTS, None, "  ", "")).vectors
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors[: len(TEXTS)].square().mean(), torch.tensor(1.0))
    assert vectors[-3:].count_nonzero() == 0
    assert encoder.encode(pl.DataFrame({"other": [1]})).vectors.count_nonzero() == 0


def test_a_loaded_encoder_gives_the_same_bits():
    encoder = FeatureEncoder.fit(frame(*TEXTS), (NOTE,))
    assert encoder.layout.vectors == (8,)
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())), encoder.arrays())
    asked = frame("a red lamp", "never seen before", None)
    assert again == encoder
    assert torch.equal(again.encode(asked).vectors, encoder.encode(asked).vectors)
    assert FeatureEncoder.fit(frame(*TEXTS[:20]), (NOTE,)) != encoder


def test_fewer_texts_than_dimensions_have_fewer():
    assert FeatureEncoder.fit(frame("one", "two", "one"), (NOTE,)).layout.vectors == (2,)


def test_texts_in_any_alphabet_and_numbers_are_read():
    encoder = FeatureEncoder.fit(frame("красный стол", "синий стул", "赤い椅子", "7"), (NOTE,))
    vectors = encoder.encode(pl.DataFrame({"note": [7, 8]})).vectors
    assert torch.isfinite(vectors).all()
    assert not torch.equal(vectors[0], vectors[1])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([None, " "], r"Feature 'note' is text, and none of 2 rows has any\. Leave it out"),
        ([["a"], ["b"]], r"Feature 'note' is text, and the column holds List\(String\)"),
        ([b"a", b"b"], r"the column holds Binary"),
    ],
)
def test_a_column_without_texts_is_refused(column, message):
    with pytest.raises(DataError, match=message):
        FeatureEncoder.fit(pl.DataFrame({"note": column}), (NOTE,))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"kind": "text", "encoder": "tf-idf"}, r"encoder 'tf-idf'\. Did you mean 'tfidf'"),
        ({"kind": "text", "encoder": "some/model", "dim": 9}, r"dim = 9.* other encoders have a width of their own"),
        ({"kind": "text", "dim": 0}, r"dim = 0\. It is a whole number of 1 or more"),
        (
            {"kind": "text", "encoder": len},
            r"to use a function, make the column a vector first: shortlist\.embed_column",
        ),
        ({"kind": "text", "buckets": 9}, r"is text, and buckets are for categories"),
        ({"kind": "numeric", "encoder": "tfidf"}, r"is numeric, and an encoder is for text and images"),
        ({"kind": "image", "size": 4}, r"size = 4\. It is the side of a thumbnail, 8 to 512 pixels"),
        ({"kind": "image", "size": 64, "encoder": "a/b"}, r"for images without an encoder only"),
        ({"kind": "vector", "transform": "log"}, r"is vector, and transform = 'log' is for numbers"),
        ({"kind": "vectr"}, r"kind 'vectr'\. Kinds: categorical, multi, numeric, text, image, vector"),
    ],
)
def test_a_feature_that_makes_no_sense_is_refused(stated, message):
    with pytest.raises(SchemaError, match=message):
        Feature(name="x", owner="item", **stated)
