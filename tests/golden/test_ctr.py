"""DeepFM and DLRM equal the implementations that others measure with, on the same weights: logits, gradients, steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.golden.conftest import Golden
from torch import Tensor

from shortlist.contracts import Catalogue, Examples, FeatureLayout, Features, Ragged, Requests
from shortlist.models.deepfm import DeepFM, DeepFMNetwork
from shortlist.models.dlrm import DLRM, DLRMNetwork
from shortlist.training import Training
from shortlist.training.optimizer import build_optimizer

DLRMS = {"dlrm_dot_noself": DLRM(embedding_dim=4, bottom=(6,), top=(9, 5)),
         "dlrm_dot_self": DLRM(embedding_dim=4, bottom=(6,), top=(9, 5), itself=True),
         "dlrm_cat": DLRM(embedding_dim=4, bottom=(6,), top=(9, 5), interaction="cat")}  # fmt: skip


def _no_items(num: int) -> Tensor:
    return torch.zeros(num, 1, dtype=torch.int64)


def _catalogue(layout: FeatureLayout) -> Catalogue:
    return Catalogue(num_users=0, num_items=0, context=layout)


def _fuxictr(file: dict[str, Tensor]) -> tuple[DeepFMNetwork, Requests, dict[str, Callable[[str], Tensor]]]:
    """Their weights in our network (their numeric fields come first), the rows, and how to read each of our tables."""
    sizes = tuple(
        len(file[f"w/embedding_layer.embedding_layer.embedding_layers.C{field}.weight"]) for field in range(3)
    )
    layout = FeatureLayout(sizes, (), 2)
    network = DeepFM(embedding_dim=4, hidden=(6, 5)).build(_catalogue(layout))
    assert isinstance(network, DeepFMNetwork)
    vectors = "embedding_layer.embedding_layer.embedding_layers."
    first = "fm.lr_layer.embedding_layer.embedding_layer.embedding_layers."

    def table(kind: str) -> Tensor:
        return torch.cat(
            [torch.cat((file[f"{kind}{vectors}C{field}.weight"], file[f"{kind}{first}C{field}.weight"]), dim=1)
             for field in range(3)]
        )  # fmt: skip

    def numbers(kind: str) -> Tensor:
        return torch.cat(
            [torch.cat((file[f"{kind}{vectors}I{field}.weight"].T, file[f"{kind}{first}I{field}.weight"]), dim=1)
             for field in range(2)]
        )  # fmt: skip

    def deep(kind: str) -> Tensor:
        weight = file[f"{kind}mlp.mlp.0.weight"]
        return torch.cat((weight[:, 8:], weight[:, :8]), dim=1)

    read: dict[str, Callable[[str], Tensor]] = {
        "fields.embedding.weight": table,
        "numbers": numbers,
        "deep.0.weight": deep,
        "bias": lambda kind: file[f"{kind}fm.lr_layer.bias"],
    }
    for name in ("0.bias", "2.weight", "2.bias", "4.weight", "4.bias"):
        read[f"deep.{name}"] = lambda kind, name=name: file[f"{kind}mlp.mlp.{name}"]  # type: ignore[misc]
    network.load_state_dict({name: of("w/") for name, of in read.items()})
    categorical = (file["in/categorical"] + torch.tensor(layout.offsets)).int()
    return network, Requests(context=Features(layout, categorical, (), file["in/numeric"])), read


def test_deepfm_equals_fuxictr_and_the_papers_equations(golden: Golden) -> None:
    file = golden("deepfm_fuxictr")
    network, requests, read = _fuxictr(file)
    examples = Examples(requests, _no_items(7), targets=file["in/label"])
    value = network.loss(examples)
    value.backward()
    torch.testing.assert_close(value.double(), file["out/logloss"], rtol=0, atol=5e-6)
    parameters = dict(network.named_parameters())
    assert set(parameters) == set(read)
    for name, of in read.items():
        gradient = parameters[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient, of("grad/"), rtol=0, atol=5e-6, msg=name)
    assert requests.context is not None
    assert requests.context.numeric is not None
    wide = Requests(
        context=Features(requests.context.layout, requests.context.categorical, (), file["in/numeric"].double())
    )
    logits = network.double()(wide, _no_items(7))
    torch.testing.assert_close(logits, file["out64/logit"], rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[:, 0], file["eq64/logit"], rtol=0, atol=1e-12)


def test_deepfm_with_a_projected_head_equals_the_widely_used_port(golden: Golden) -> None:
    """A value of theirs stands beside each index; here it scales the rows of a network with a row for each of them."""
    file = golden("deepfm_projected_head")
    indices, values = file["in/feat_index"], file["in/feat_value"]
    rows, fields = indices.shape
    table = torch.cat((file["w/feature_embeddings"], file["w/feature_bias"]), dim=1)[indices] * values[..., None]
    layout = FeatureLayout((rows,) * fields)
    network = DeepFM(embedding_dim=3, hidden=(7, 5), head="project").build(_catalogue(layout))
    assert isinstance(network, DeepFMNetwork)
    network.load_state_dict(
        {
            "fields.embedding.weight": table.transpose(0, 1).flatten(0, 1),
            "deep.0.weight": file["w/layer_0"].T,
            "deep.0.bias": file["w/bias_0"][0],
            "deep.2.weight": file["w/layer_1"].T,
            "deep.2.bias": file["w/bias_1"][0],
            "projection.weight": file["w/concat_projection"].T,
            "projection.bias": file["w/concat_bias"][None],
        }
    )
    categorical = (torch.arange(rows)[:, None] + torch.tensor(layout.offsets)).int()
    requests = Requests(context=Features(layout, categorical))
    logits = network(requests, _no_items(rows))
    torch.testing.assert_close(torch.sigmoid(logits), file["out/prob"], rtol=0, atol=2e-6)
    torch.testing.assert_close(network.double()(requests, _no_items(rows)), file["eq64/logit"], rtol=0, atol=1e-6)


def _dlrm(file: dict[str, Tensor], settings: DLRM, *, sparse: bool = False) -> tuple[DLRMNetwork, Requests]:
    sizes = tuple(int(size) for size in file["in/ln_emb"])
    layout = FeatureLayout((), sizes, int(file["in/ln_bot"][0]))
    network = settings.build(_catalogue(layout))
    assert isinstance(network, DLRMNetwork)
    network.fields.embedding.sparse = sparse
    network.load_state_dict(_dlrm_weights(file, "w/"))
    bags = tuple(
        Ragged(
            (file[f"in/indices_{field}"] + offset).int(),
            torch.cat((file[f"in/offsets_{field}"], torch.tensor([len(file[f"in/indices_{field}"])]))),
        )
        for field, offset in enumerate(layout.offsets)
    )
    return network, Requests(context=Features(layout, None, bags, file["in/dense"]))


def _dlrm_weights(file: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    weights = {"fields.embedding.weight": torch.cat([file[f"{kind}emb_l.{field}.weight"] for field in range(3)])}
    for ours, theirs in (("bottom", "bot_l"), ("top", "top_l")):
        for name in (name for name in file if name.startswith(f"{kind}{theirs}.")):
            weights[name.replace(f"{kind}{theirs}", ours)] = file[name]
    return weights


@pytest.mark.parametrize("name", DLRMS)
def test_dlrm_equals_the_authors(name: str, golden: Golden) -> None:
    file = golden(name)
    network, requests = _dlrm(file, DLRMS[name])
    torch.testing.assert_close(network(requests, _no_items(7)), file["out/logit"], rtol=0, atol=2e-6)
    value = network.loss(Examples(requests, _no_items(7), targets=file["in/label"]))
    torch.testing.assert_close(value.double(), file["out/bce"], rtol=0, atol=2e-6)
    value.backward()
    wanted = _dlrm_weights(file, "grad/")
    for parameter, values in network.named_parameters():
        assert values.grad is not None
        torch.testing.assert_close(values.grad, wanted[parameter], rtol=1e-6, atol=2e-6, msg=parameter)
    assert requests.context is not None
    wide = Requests(context=replace(requests.context, numeric=file["in/dense"].double()))
    rows = network.double().rows(wide, _no_items(7), None)
    for name, mine in (("interaction", network.interact), ("logit", network.from_rows)):
        torch.testing.assert_close(mine(rows).view(7, -1), file[f"out64/{name}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("optimizer", "atol"), [("sgd", 2e-6), ("rowwise_adagrad", 1e-4)])
def test_two_steps_of_dlrm_equal_the_authors(optimizer: str, atol: float, sparse: bool, golden: Golden) -> None:
    file = golden("dlrm_dot_noself")
    network, requests = _dlrm(file, DLRMS["dlrm_dot_noself"], sparse=sparse)
    training = Training(optimizer=optimizer, learning_rate=0.1)  # type: ignore[arg-type]
    tables = [network.fields.table]
    steps = build_optimizer(network.parameters(), settings=training, tables=tables)
    short = "sgd" if optimizer == "sgd" else "rwsadagrad"
    for number in (1, 2):
        value = network.loss(Examples(requests, _no_items(7), targets=file["in/label"]))
        torch.testing.assert_close(value.double(), file[f"out/{short}_step{number}_loss"], rtol=0, atol=5e-6)
        steps.zero_grad()
        value.backward()
        steps.step()
        for name, wanted in _dlrm_weights(file, f"out/{short}_step{number}/").items():
            torch.testing.assert_close(dict(network.named_parameters())[name], wanted, rtol=0, atol=atol, msg=name)
