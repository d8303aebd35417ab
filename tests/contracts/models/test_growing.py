"""Every model goes on with items, users and events that it did not know, and forgets nothing for that."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch
from tests.conftest import picture
from tests.contracts.models.scoring import fitted, requests_of, scores_of
from tests.contracts.models.table import ALL, SOLVED

import shortlist as sl
from shortlist.contracts import CandidateSource, Retriever
from shortlist.data import Dataset
from shortlist.data.grow import with_items
from shortlist.growth import grown
from shortlist.model import Model, history_width, pair_scores
from shortlist.training import Training


def _more_items(dataset: Dataset) -> pl.DataFrame:
    """Two items that nobody knows, and one that is known with another price."""
    return pl.DataFrame(
        {
            "item_id": [900, 901, 3],
            "category": ["cup", "tea", "pot"],
            "tags": ["red", "blue", "red"],
            "price": [4.0, 1.0, 99.0],
        }
    )


def _rich_items() -> pl.DataFrame:
    """The same for the data with texts, vectors and pictures."""
    return pl.DataFrame(
        {
            "item_id": [900, 901, 3],
            "category": ["cup", "tea", "pot"],
            "note": ["a blue thing of 30 parts", None, "a red thing"],
            "vector": [[9.0, 0.5, 1.0], [2.0, -0.5, 1.0], [7.0, 0.5, 1.0]],
            "photo": [picture((200, 10, 10)), picture((10, 200, 10)), None],
        },
        schema_overrides={"photo": pl.Binary},
    )


@pytest.mark.parametrize("name", ALL)
def test_a_model_grown_step_by_step_is_the_same_as_one_in_one_piece(name: str, dataset: Dataset) -> None:
    """Bit for bit, but for the rounding of pictures seen alone; and the first one shares its weights and goes on as it was."""
    model = fitted(ALL[name], dataset)
    table = _rich_items() if "all kinds" in name else _more_items(dataset)
    requests = requests_of(dataset, history_width(ALL[name]))
    known = torch.arange(1, 21).expand(len(requests), -1)
    is_source = isinstance(model.network, CandidateSource) and not isinstance(model.network, Retriever)
    before = scores_of(model, requests)
    grown_models, larger = [model], dataset
    for row in range(3):
        larger, _ = with_items(larger, table[row : row + 1])
        grown_models.append(grown(grown_models[-1], larger))
        scores_of(grown_models[-1], requests)  # what is computed once and kept must not hide what comes later
    again = grown_models[-1]
    assert torch.equal(scores_of(model, requests), before)
    if not is_source and name != "ALS":  # its regularisation grows with the number of items
        assert torch.equal(pair_scores(grown_models[2].network, requests, known), before)
    weights = dict(model.network.named_parameters())
    assert all(weight is weights[key] for key, weight in again.network.named_parameters())
    assert larger.item_features is not None
    whole = replace(larger, item_features=larger.item_features.whole())
    part = again.to_part()
    copied = Model.from_part(replace(part, facts={**part.facts, "log": None}), whole)
    if requests.history is not None:  # somebody has met the new ones already
        history = torch.where(requests.history % 5 == 1, 20 + requests.history % 2 + 1, requests.history)
        requests = replace(requests, history=history * (requests.history > 0))
    rounding = 1e-5 if "all kinds" in name else 0.0
    torch.testing.assert_close(scores_of(again, requests), scores_of(copied, requests), rtol=rounding, atol=rounding)
    if isinstance(again.network, Retriever) and isinstance(copied.network, Retriever):
        items = torch.arange(23)
        assert torch.equal(again.network.embed_items(items), copied.network.embed_items(items))


GROWING = [name for name in ALL if "all kinds" not in name]


@pytest.mark.parametrize("name", GROWING)
def test_a_model_grown_for_new_items_scores_the_known_ones_as_before(name: str, dataset: Dataset) -> None:
    model = fitted(ALL[name], dataset)
    larger, touched = with_items(dataset, _more_items(dataset)[:2])
    assert touched.tolist() == [21, 22]
    requests = requests_of(dataset, history_width(ALL[name]))
    again = grown(model, larger)
    scores = scores_of(again, requests)
    if "listwise" not in name:  # there every candidate counts for the others
        near = 0.01 if name == "ALS" else 1e-5  # its regularisation grows with the number of items
        torch.testing.assert_close(scores[:, :20], scores_of(model, requests), rtol=1e-5, atol=near)
    if not isinstance(again.network, CandidateSource) or isinstance(again.network, Retriever):
        assert torch.isfinite(scores).all()


@pytest.mark.parametrize("name", GROWING)
def test_a_model_goes_on_with_new_events_users_and_items(name: str, dataset: Dataset) -> None:
    model = fitted(ALL[name], dataset)
    newest = 1_000_000 + 200 * 3_600
    later = pl.DataFrame(
        {
            "user_id": ["u00", "new", "new", "u01", "new", "u02", "u02"],
            "item_id": [3, 900, 4, 900, 5, 7, 8],
            "rating": [5, 4, 3, 5, 1, 2, 3],
            "timestamp": [newest + step for step in range(7)],
        }
    )
    again = sl.fit_partial(
        model, later, items=_more_items(dataset), training=Training(epochs=2, patience=None, batch_size=4)
    )
    assert (again.dataset.num_users, again.dataset.num_items, len(again.dataset.events)) == (13, 22, 157)
    if name not in SOLVED:
        assert len(again.dataset.targets()) == 7
    scores = scores_of(again, requests_of(again.dataset, history_width(ALL[name])))
    assert scores.shape == (14, 22)  # of the unknown user, too
