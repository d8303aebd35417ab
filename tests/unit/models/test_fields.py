"""Fields of items: the same whether looked up one by one or kept for serving."""

from __future__ import annotations

import pytest
import torch

from shortlist.contracts import Catalogue, FeatureLayout, Features, Ragged
from shortlist.models import fields as module
from shortlist.models.fields import Fields


def _fields() -> Fields:
    layout = FeatureLayout((4,), (5,), 1)
    categorical = torch.tensor([[0], [1], [3], [2]], dtype=torch.int32)
    bags = Ragged(torch.tensor([5, 6, 8, 5], dtype=torch.int32), torch.tensor([0, 0, 2, 3, 4]))
    features = Features(layout, categorical, (bags,), torch.arange(4.0)[:, None])
    torch.manual_seed(0)
    return Fields(Catalogue(2, 3, features), 6, init=torch.nn.init.normal_).eval()


def test_what_is_kept_for_serving_is_what_is_looked_up_and_follows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    fields, items = _fields(), torch.tensor([[1, 3, 0], [2, 2, 1]])

    def grow() -> None:
        with torch.no_grad():
            fields.table.mul_(2)

    def load() -> None:
        fields.load_state_dict({name: values + 1 for name, values in fields.state_dict().items()})

    for change in (grow, load, fields.double, grow):
        change()
        looked_up = fields.of_items(items)
        with torch.inference_mode():
            for _ in range(2):
                kept = fields.of_items(items)
                for one, other in zip(kept, looked_up, strict=True):
                    torch.testing.assert_close(one, other.to(one.dtype))
    assert fields._kept is not None
    monkeypatch.setattr(module, "PREPARED_BYTES", 10)
    other = _fields()
    with torch.inference_mode():
        other.of_items(items)
    assert other._kept is None


def test_a_ranker_scores_the_same_before_and_after_it_learns_more() -> None:
    """What was kept in one validation must not be met in the next."""
    fields, items = _fields(), torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = fields.of_items(items)[0].clone()
    step = torch.optim.SGD(fields.parameters(), lr=0.5)
    fields.train()
    fields.of_items(items)[0].sum().backward()
    step.step()
    fields.eval()
    with torch.no_grad():
        after = fields.of_items(items)[0]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, fields._items(items[0])[0][None])
