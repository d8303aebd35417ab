"""Every model comes back from a bundle as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contracts.models.scoring import fitted, requests_of, scores_of
from tests.contracts.models.table import ALL

from shortlist.bundle import Bundle, read_bundle, write_bundle
from shortlist.data import Dataset
from shortlist.model import Model, history_width


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_models_score_the_same(name: str, dataset: Dataset, tmp_path: Any) -> None:
    model = fitted(ALL[name], dataset)
    write_bundle(tmp_path / "model", Bundle({"model": model.to_part()}, dataset))
    bundle = read_bundle(tmp_path / "model")
    again = Model.from_part(bundle.parts["model"], bundle.dataset)
    requests = requests_of(dataset, history_width(ALL[name]))
    assert again.settings == model.settings
    assert torch.equal(scores_of(model, requests), scores_of(again, requests))


@pytest.mark.parametrize("name", ALL)
def test_a_loaded_network_has_all_that_a_built_one_has(name: str, dataset: Dataset, tmp_path: Any) -> None:
    """Loading draws no random numbers and copies no weights, and leaves nothing out for that."""
    model = fitted(ALL[name], dataset)
    built = ALL[name].build(dataset.catalogue())
    built.load_state_dict(model.network.state_dict())
    write_bundle(tmp_path / "model", Bundle({"model": model.to_part()}, dataset))
    part = read_bundle(tmp_path / "model").parts["model"]
    state = torch.get_rng_state()
    loaded = Model.from_part(part, dataset).network
    assert torch.equal(torch.get_rng_state(), state)
    for kind in ("named_parameters", "named_buffers"):
        expected, found = (dict(getattr(network, kind)()) for network in (built, loaded))
        assert list(found) == list(expected)
        for key, values in expected.items():
            assert torch.equal(found[key], values), key
            assert (found[key].requires_grad, found[key].is_leaf) == (values.requires_grad, values.is_leaf), key
    assert all(value.data_ptr() == part.weights[key].data_ptr() for key, value in loaded.state_dict().items())
