"""Crossed columns: how others of the same combination were labelled, and never a row's own label."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.contracts import Catalogue, Examples, Requests
from shortlist.errors import SchemaError
from shortlist.models.crosses import Crosses

USER_ITEM = Catalogue(num_users=50, num_items=40, crosses=((("user_id", 0), ("item_id", 0)),))


def _labelled(rows: list[tuple[int, int, float]]) -> Examples:
    users, items, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Examples(Requests(user=users), items[:, None], targets=labels[:, None].float())


def test_a_row_meets_the_label_rate_of_the_others_like_it() -> None:
    """Of (1, 1) two are liked and one is not, (2, 2) is liked once: the mean is 3/4, and stands for one more event."""
    crosses = Crosses(USER_ITEM)
    examples = _labelled([(1, 1, 1), (1, 1, 1), (1, 1, 0), (2, 2, 1)])
    crosses.count(examples)
    assert examples.targets is not None
    own = torch.stack((torch.ones(4, 1), examples.targets), dim=2)
    spread = (0.75 * 0.25) ** 0.5
    numbers = crosses(examples.requests, examples.items, own)[:, 0]
    rates = torch.tensor([1.75 / 3, 1.75 / 3, 2.75 / 3, 0.75])
    torch.testing.assert_close(numbers[:, 0], (rates - 0.75) / spread)
    torch.testing.assert_close(numbers[:, 1], torch.tensor([3.0, 3, 3, 1]).log())
    served = crosses(examples.requests, examples.items, None)[:, 0, 0]
    torch.testing.assert_close(served, (torch.tensor([2.75 / 4, 2.75 / 4, 2.75 / 4, 1.75 / 2]) - 0.75) / spread)


def test_combinations_are_told_apart_and_one_with_an_unknown_value_is_never_met() -> None:
    crosses = Crosses(USER_ITEM)
    users, items = torch.arange(51).repeat_interleave(41), torch.arange(41).repeat(51)
    every = Examples(Requests(user=users), items[:, None], targets=torch.ones(len(users), 1))
    crosses.count(every)
    met = crosses(every.requests, every.items, None)[:, 0, 1]
    torch.testing.assert_close(met, torch.where((users > 0) & (items > 0), 2.0, 1.0).log())


def test_counts_are_saved_and_loaded() -> None:
    first, second = Crosses(USER_ITEM), Crosses(USER_ITEM)
    examples = _labelled([(1, 1, 1), (1, 2, 0), (3, 4, 1)])
    first.count(examples)
    second.count(_labelled([(5, 5, 1)]))
    second.load_state_dict(first.state_dict())
    for requests, items in (
        (examples.requests, examples.items),
        (Requests(user=torch.tensor([5])), torch.tensor([[5]])),
    ):
        assert torch.equal(first(requests, items, None), second(requests, items, None))


def _pairs(seed: int) -> pl.DataFrame:
    """Rows whose label is decided by the combination of two columns, of which each alone says nothing."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (torch.randint(0, 12, (1500,), generator=draw) for _ in range(2))
    table = torch.randint(0, 2, (12, 12), generator=torch.Generator().manual_seed(7))
    label = table[left, right].tolist()
    return pl.DataFrame(
        {"left": [f"l{value}" for value in left], "right": [f"r{value}" for value in right], "label": label}
    )


@pytest.mark.parametrize("settings", [sl.DeepFM(hidden=(8,)), sl.DLRM(embedding_dim=4)])
def test_a_cross_is_learnt_at_once(settings: sl.DeepFM | sl.DLRM) -> None:
    schema = {"label": "label", "cross": [["left", "right"]]}
    features = [{"name": name, "kind": "categorical", "owner": "context"} for name in ("left", "right")]
    training = sl.Training(epochs=2, batch_size=64, learning_rate=0.01, patience=None)
    found = {}
    for name, given in (("with", schema), ("without", {"label": "label"})):
        dataset = sl.read_dataset(_pairs(0), schema={**given, "features": features})
        train, _, test = sl.split_random(dataset, valid=0, test=0.3)
        model = sl.fit(settings, train, training=training)
        found[name] = sl.evaluate(model, test, metrics=["auc"])["auc"].value
    assert found["with"] > 0.97
    assert found["with"] > found["without"] + 0.1


def test_what_cannot_be_crossed_is_named() -> None:
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "price": [0.5, 1.5]})
    price = [{"name": "price", "kind": "numeric", "owner": "context"}]
    for cross, message in (([["user_id", "price"]], r"'price', which is no id and no categorical feature.*user_id, item_id"),
                           ([["user_id"]], r"Each entry lists two columns or more")):  # fmt: skip
        with pytest.raises(SchemaError, match=message):
            sl.read_dataset(frame, schema={"cross": cross, "features": price})
