"""Settings from TOML, names and overrides; a typo names the nearest right key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shortlist as sl
from shortlist.config import RunConfig, from_dict, load_config, to_dict
from shortlist.errors import SettingsError
from shortlist.index import AnyIndex
from shortlist.models import AnyModel


def test_nothing_given_is_the_default() -> None:
    assert load_config() == RunConfig()


def test_file_names_and_overrides_lie_on_top_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        """
        candidates = 50
        [data]
        split = "last_out"
        schema = { timestamp = "when" }
        [retriever]
        type = "two_tower"
        embedding_dim = 32
        hidden = [64, 64]
        [training]
        epochs = 7
        betas = [0.9, 0.99]
        """
    )
    config = load_config(
        path, overrides=["training.epochs=9", "retriever.temperature=0.2", "index=hnsw"], ranker="NeuMF"
    )
    assert config.retriever == sl.TwoTower(embedding_dim=32, hidden=(64, 64), temperature=0.2)
    assert config.ranker == sl.NeuMF()
    assert config.training == sl.Training(epochs=9, betas=(0.9, 0.99))
    assert config.index == sl.HNSW()
    assert config.candidates == 50
    assert config.data.schema == {"timestamp": "when"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ivfpq", sl.IVFPQ(recall=0.99)),
        ("hnsw", sl.HNSW(recall=0.99)),
        ("scann", sl.ScaNN(recall=0.99)),
        ("annoy", sl.Annoy(recall=0.99)),
    ],
)
def test_every_index_can_be_named_in_a_file(tmp_path: Path, name: str, settings: Any) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'index = {{ type = "{name}", recall = 0.99 }}\n')
    assert load_config(path).index == settings
    assert load_config(path, index="exact").index == sl.Exact()
    assert from_dict(to_dict(settings), AnyIndex, where="index") == settings


def test_another_retriever_does_not_inherit_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[retriever]\ntype = "two_tower"\ntemperature = 0.3\n')
    assert load_config(path, retriever="mf").retriever == sl.MF()
    assert load_config(path, retriever="two-tower").retriever == sl.TwoTower(temperature=0.3)


def test_several_retrievers_are_a_list(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        """
        diversity = 0.2
        caps = { category = 2 }
        [[retriever]]
        type = "two_tower"
        embedding_dim = 32
        [[retriever]]
        type = "popularity"
        half_life_days = 3
        """
    )
    config = load_config(path, overrides=["retriever.0.embedding_dim=16", "retriever.1.recent_days=9"])
    assert config.retriever == (sl.TwoTower(embedding_dim=16), sl.Popularity(9, 3))
    assert (config.diversity, config.caps) == (0.2, {"category": 2})
    named = load_config(path, retriever=["popularity", "mf"], overrides=["retriever.1.embedding_dim=8"])
    assert named.retriever == (sl.Popularity(half_life_days=3), sl.MF(embedding_dim=8))
    assert load_config(overrides=['retriever=["mf", "popularity"]']).retriever == (sl.MF(), sl.Popularity())
    assert load_config(retriever=["mf"]).retriever == sl.MF()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("retriever.embedding_dim=3", "a list of 2, and 'embedding_dim' is none of its places"),
        ("retriever.2.embedding_dim=3", "'2' is none of its places"),
        ("retriever.0.embeding_dim=3", "retriever.0 has no setting 'embeding_dim'. Did you mean 'embedding_dim'"),
        ("retriever.0.type=sasrecc", "no 'sasrecc'"),
        ("candidates.x=3", "'x' would be a setting of 200"),
        ("retriever=[]", "empty list"),
        ("caps.category=two", "caps: Expected `int`"),
    ],
)
def test_a_mistake_in_a_list_is_named(override: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_config(retriever=["mf", "popularity"], overrides=["candidates=200", override])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "settings", [sl.TwoTower(hidden=(8,)), sl.MF(loss="bpr"), sl.NeuMF(), sl.Popularity(3), sl.ItemKNN(), sl.ALS()]
)
def test_settings_survive_json(settings: AnyModel) -> None:
    assert from_dict(to_dict(settings), AnyModel, where="model") == settings


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trianing.epochs=3"], "'trianing'. Did you mean 'training'"),
        (["training.epoch=3"], "'epoch'. Did you mean 'epochs'"),
        (["training.epochs=0"], "training.epochs is 0"),
        (["training.epochs=many"], "training: Expected `int`"),
        (["retriever.hidden=3"], "retriever: Expected `array`"),
        (["retriever=sasrecc"], "no 'sasrecc'"),
        (["retriever.temperature=-1"], "temperature is -1"),
        (["index=faiss"], "no 'faiss'"),
        (["nothing"], "key.path=value"),
        (["training=3"], "table of settings"),
    ],
)
def test_a_mistake_is_named(overrides: list[str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_config(overrides=overrides)
    assert words in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_config("nowhere.toml")
    (tmp_path / "broken.toml").write_text("a = = 3")
    with pytest.raises(SettingsError, match="not TOML"):
        load_config(tmp_path / "broken.toml")
