"""Gradients of the interactions equal the slope of their values, in float64; and lookups and dropout are what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shortlist.models.dropout import Dropout
from shortlist.models.interactions import PairProducts, SharedProducts, field_terms
from shortlist.models.layers import Embedding


def _vectors(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()


def test_field_terms_are_sums_over_fields_and_have_their_gradient() -> None:
    vectors = _vectors(2, 3, 4, 6)
    terms = field_terms(vectors)
    known = vectors[..., :-1]
    assert torch.equal(terms.deep, known.flatten(2))
    assert torch.equal(terms.first, vectors[..., -1])
    torch.testing.assert_close(terms.total, known.sum(2))
    pairs = sum((known[:, :, i] * known[:, :, j] for i in range(4) for j in range(i)), torch.zeros(()))
    torch.testing.assert_close((terms.total.square() - terms.squares) / 2, pairs)
    assert torch.autograd.gradcheck(lambda given: tuple(field_terms(given)), (vectors,))


@pytest.mark.parametrize("itself", [False, True])
def test_pair_products_come_row_by_row_and_have_their_gradient(itself: bool) -> None:
    vectors = _vectors(3, 4, 5)
    products = PairProducts(4, itself=itself)
    wanted = [(vectors[:, i] * vectors[:, j]).sum(1) for i in range(4) for j in range(i + itself)]
    torch.testing.assert_close(products(vectors), torch.stack(wanted, dim=1))
    assert len(products) == len(wanted)
    assert torch.autograd.gradcheck(products, (vectors,))


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("shared", [range(2), range(1, 3), range(1, 6), range(6), range(2, 2)])
def test_products_with_shared_vectors_are_the_same_in_another_order(itself: bool, shared: range) -> None:
    """Few own vectors and many, few shared ones and many, and none."""
    vectors = _vectors(2, 3, 7, 5).detach()  # of two requests with three items
    own = [place for place in range(7) if place not in shared]
    vectors[:, :, list(shared)] = vectors[:, :1, list(shared)]
    with torch.no_grad():
        wanted = PairProducts(7, itself=itself)(vectors.flatten(0, 1)).view(2, 3, -1)
        module = SharedProducts(7, shared, itself=itself)
        found = module(vectors[:, :, own], vectors[:, 0, list(shared)])
    assert module.order.sort().values.tolist() == list(range(wanted.shape[2]))
    torch.testing.assert_close(found, wanted[..., module.order])


def test_under_autocast_terms_and_products_are_of_its_type_and_gradients_of_the_vectors() -> None:
    vectors = _vectors(2, 3, 5).detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        terms, products = field_terms(vectors), PairProducts(3, itself=False)(vectors)
    assert terms.deep.dtype == products.dtype == torch.bfloat16
    assert terms.total.dtype == terms.squares.dtype == torch.float32
    (terms.deep.sum() + products.sum()).backward()
    assert vectors.grad is not None
    assert vectors.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_an_embedding_has_the_gradient_of_torchs(kind: torch.dtype) -> None:
    ids = torch.tensor([[0, 2, 2], [5, 1, 2]], dtype=kind)
    ours, theirs = Embedding(6, 3, padding_idx=0), nn.Embedding(6, 3, padding_idx=0)
    theirs.load_state_dict(ours.state_dict())
    weights = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    for table in (ours, theirs):
        (table(ids) * weights).sum().backward()
    assert torch.equal(ours(ids), theirs(ids))
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_keeps_the_mean_and_passes_the_gradient_of_what_stays(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.ones(500, 101, dtype=kind, requires_grad=True)
    dropped = Dropout(0.25)(values)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(0.25, abs=0.01)
    assert float(dropped.detach().float().mean()) == pytest.approx(1.0, abs=0.02)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())
    assert torch.equal(Dropout(0.25).eval()(values), values)
