"""What training takes is said before it is taken."""

from __future__ import annotations

import polars as pl
import pytest

import shortlist as sl
from shortlist import memory
from shortlist.errors import ShortlistWarning, TrainingError
from shortlist.memory import training_bytes


@pytest.fixture
def dataset() -> sl.Dataset:
    frame = pl.DataFrame(
        {"shop": [f"s{row % 500}" for row in range(2000)], "click": [row % 3 == 0 for row in range(2000)]}
    )
    return sl.read_dataset(frame, schema={"label": "click", "features": [{"name": "shop", "kind": "categorical", "owner": "context"}]})  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "optimizer", "copies"),
    [
        (sl.DeepFM(embedding_dim=9, hidden=(4,)), "adam", 4),
        (sl.DeepFM(embedding_dim=9, hidden=(4,)), "sgd", 2),
        (sl.DeepFM(embedding_dim=9, hidden=(4,)), "sgd with momentum", 3),
        (sl.DeepFM(embedding_dim=9, hidden=(4,), sparse=True), "rowwise_adagrad", 1),
    ],
)
def test_bytes_are_weights_gradients_and_what_the_optimiser_keeps(
    dataset: sl.Dataset, settings: sl.DeepFM, optimizer: str, copies: int
) -> None:
    name, _, more = optimizer.partition(" with ")
    training = sl.Training(optimizer=name, momentum=0.9 if more else 0.0)  # type: ignore[arg-type]
    weights = 501 * 10 + (9 * 4 + 4) + (4 + 1) + 1
    assert training_bytes(settings, dataset.catalogue(), training, is_validated=False) == 4 * copies * weights
    assert training_bytes(settings, dataset.catalogue(), training, is_validated=True) == 4 * (copies + 1) * weights


def test_much_memory_is_said_and_more_than_there_is_refused(
    dataset: sl.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = sl.Training(epochs=1, patience=None)
    monkeypatch.setattr(memory, "WORTH_SAYING", 50_000)
    with pytest.warns(
        ShortlistWarning, match=r"DeepFM on this data takes about 0\.0 GB .* 'shop' alone has 501 values"
    ):
        sl.fit(sl.DeepFM(hidden=(4,)), dataset, training=training)
    monkeypatch.setattr(memory, "available_bytes", lambda: 60_000)
    with pytest.raises(TrainingError, match=r"GB of memory are free\. Most of it are tables.*buckets"):
        sl.fit(sl.DeepFM(hidden=(4,)), dataset, training=training)
    sl.fit(sl.DeepFM(embedding_dim=1, hidden=(4,)), dataset, training=training)
