"""NeuMF started from a fitted GMF and a fitted MLP."""

from __future__ import annotations

import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.errors import SettingsError
from shortlist.model import pair_scores

QUICK = sl.Training(epochs=1, batch_size=32, patience=None)


def test_a_fused_model_begins_between_the_two_it_starts_from(dataset: Dataset) -> None:
    """With a learning rate of almost nothing its scores are the weighted sum of theirs."""
    parts = {path: sl.fit(sl.NeuMF(paths=path), dataset, training=QUICK) for path in ("gmf", "mlp")}  # type: ignore[arg-type]
    still = sl.Training(epochs=1, batch_size=32, patience=None, learning_rate=1e-12)
    fused = sl.fit(sl.NeuMF(fusion=0.3), dataset, training=still, initial=parts)
    requests = fused.requests_of(torch.arange(1, 6))
    items = torch.arange(1, 11).expand(5, -1)
    gmf, mlp, both = (pair_scores(model.network, requests, items) for model in (*parts.values(), fused))
    torch.testing.assert_close(both, 0.3 * gmf + 0.7 * mlp)


def test_only_models_that_fit_are_started_from(dataset: Dataset) -> None:
    gmf = sl.fit(sl.NeuMF(paths="gmf"), dataset, training=QUICK)
    other = sl.fit(sl.NeuMF(paths="mlp", layers=(32, 8)), dataset, training=QUICK)
    with pytest.raises(SettingsError, match=r"cannot start from gmf\. With both paths"):
        sl.fit(sl.NeuMF(), dataset, training=QUICK, initial={"gmf": gmf})
    with pytest.raises(SettingsError, match=r"hidden\.0\.weight is \(8, 32\) of both and \(32, 64\) here"):
        sl.fit(sl.NeuMF(), dataset, training=QUICK, initial={"gmf": gmf, "mlp": other})
    with pytest.raises(SettingsError, match=r"MF does not start from other models by name"):
        sl.fit(sl.MF(), dataset, training=QUICK, initial={"gmf": gmf})
