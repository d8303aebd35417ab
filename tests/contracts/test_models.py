"""What every model must do, whatever it is; a new model gets these checks for one row in the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import torch
from tests.conftest import picture
from torch import Tensor

import shortlist as sl
from shortlist.bundle import Bundle, read_bundle, write_bundle
from shortlist.contracts import (
    Candidates,
    CandidateSource,
    Examples,
    Features,
    ModelSettings,
    Ranker,
    Requests,
    Retriever,
    Trainable,
)
from shortlist.data import Dataset, split_last_out
from shortlist.data.batches import evaluation_batches
from shortlist.data.grow import with_items
from shortlist.fitting import fit, training_batches
from shortlist.growth import grown
from shortlist.model import Model, history_width, pair_scores
from shortlist.models import (
    ALS,
    DLRM,
    MF,
    CatBoost,
    CrossAttention,
    DeepFM,
    GRU4Rec,
    ItemKNN,
    LightGBM,
    NeuMF,
    Popularity,
    SASRec,
    TwoTower,
)
from shortlist.training import Training
from shortlist.training.examples import move

TRAINED: dict[str, ModelSettings] = {
    "MF sampled softmax": MF(embedding_dim=16, negatives=8),
    "MF bce": MF(embedding_dim=16, loss="bce", negatives=4),
    "MF cosine": MF(embedding_dim=16, negatives=8, similarity="cosine", temperature=0.2),
    "MF cosine with item biases": MF(
        embedding_dim=16, negatives=8, similarity="cosine", temperature=0.2, item_bias=True
    ),
    "MF bpr": MF(embedding_dim=16, loss="bpr", negatives=4),
    "MF ratings": MF(embedding_dim=16, loss="mse"),
    "TwoTower": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8),
    "GRU4Rec": GRU4Rec(hidden=(16,), history=6, negatives=8),
    "GRU4Rec softmax": GRU4Rec(hidden=(12, 16), history=6, loss="softmax", embedding="separate", embedding_dim=8),
    "GRU4Rec bpr_max": GRU4Rec(hidden=(16,), history=6, negatives=8, loss="bpr_max", elu=0.5, regularization=1.0),
    "GRU4Rec top1_max": GRU4Rec(hidden=(16,), history=6, negatives=8, loss="top1_max"),
    "GRU4Rec cosine": GRU4Rec(hidden=(16,), history=6, negatives=8, similarity="cosine", temperature=0.1),
    "SASRec": SASRec(embedding_dim=16, history=6, dropout=0.0),
    "SASRec bce": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="bce", negatives=4, windows="last"),
    "SASRec gbce": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="gbce", negatives=4, num_heads=2),
    "SASRec sampled_softmax": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="sampled_softmax", negatives=8),
    "SASRec pre_ln": SASRec(embedding_dim=16, history=6, dropout=0.0, block="pre_ln"),
    "SASRec ligr": SASRec(embedding_dim=16, history=6, dropout=0.0, block="ligr", similarity="cosine", temperature=0.1),
    "NeuMF": NeuMF(),
    "NeuMF gmf": NeuMF(paths="gmf", loss="softmax"),
    "NeuMF mlp": NeuMF(paths="mlp"),
    "NeuMF ratings": NeuMF(loss="mse"),
    "DeepFM": DeepFM(hidden=(16, 8), init_std=0.05),
    "DeepFM project": DeepFM(hidden=(16,), head="project", init_std=0.05),
    "DeepFM ratings": DeepFM(hidden=(16,), loss="mse", init_std=0.05),
    "DLRM": DLRM(embedding_dim=8, top=(16,)),
    "DLRM cat": DLRM(embedding_dim=8, top=(16,), interaction="cat"),
    "CrossAttention": CrossAttention(embedding_dim=16, history=6, dropout=0.0),
    "CrossAttention bce": CrossAttention(embedding_dim=16, history=6, dropout=0.0, loss="bce", negatives=4),
    "CrossAttention listwise": CrossAttention(embedding_dim=16, history=6, dropout=0.0, listwise=True, num_blocks=2),
    "CrossAttention ratings": CrossAttention(embedding_dim=16, history=6, dropout=0.0, loss="mse"),
    "DLRM softmax": DLRM(embedding_dim=8, top=(16,), itself=True, loss="softmax"),
    "TwoTower attention": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8, pooling="attention"),
    "TwoTower unordered": TwoTower(embedding_dim=16, hidden=(), history=6, negatives=8, ordered=False, item_bias=True),
    "TwoTower, all kinds of features": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8),
    "TwoTower unordered, all kinds of features": TwoTower(
        embedding_dim=16, hidden=(8,), history=6, negatives=8, ordered=False, item_bias=True, pooling="attention"
    ),
    "DeepFM, all kinds of features": DeepFM(hidden=(16,), init_std=0.05),
    "DLRM, all kinds of features": DLRM(embedding_dim=8, top=(16,)),
}
SOLVED: dict[str, ModelSettings] = {
    "Popularity": Popularity(),
    "recent Popularity": Popularity(recent_days=2),
    "ItemKNN": ItemKNN(neighbours=5),
    "ALS": ALS(embedding_dim=8),
}
GROWN: dict[str, ModelSettings] = {
    "LightGBM": LightGBM(trees=5, leaves=4, min_rows=1),
    "CatBoost": CatBoost(trees=5, depth=3),
    "LightGBM ratings": LightGBM(trees=5, leaves=4, min_rows=1, loss="mse"),
    "CatBoost ratings": CatBoost(trees=5, depth=3, loss="mse"),
}
ALL = TRAINED | SOLVED | GROWN
STEP = 1e-8  # of weights in float64: so small that no activation crosses its kink
RANKERS = NeuMF | DeepFM | DLRM | CrossAttention | LightGBM | CatBoost
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
SEQUENTIAL = [name for name, settings in TRAINED.items() if isinstance(settings, GRU4Rec | SASRec)]


@pytest.fixture
def dataset(request: pytest.FixtureRequest, dataset: Dataset, rich_dataset: Dataset) -> Dataset:
    """The usual small data, or with texts, vectors and pictures for the models that see them."""
    return rich_dataset if "all kinds" in request.node.callspec.params["name"] else dataset


def _requests(dataset: Dataset, history: int) -> Requests:
    """All users' requests after their last event."""
    full = replace(dataset, target_start=dataset.events.offsets[1:] - 1)
    (batch,) = evaluation_batches(full, history=history)
    return batch.requests


def _fitted(settings: ModelSettings, dataset: Dataset) -> Model:
    return fit(settings, dataset, training=Training(epochs=2, patience=None, batch_size=32))


def _scores(model: Model, requests: Requests) -> Tensor:
    """Scores (B, I) of items 1 … I, by whatever the model is."""
    items = torch.arange(1, model.dataset.num_items + 1).expand(len(requests), -1)
    if isinstance(model.network, CandidateSource) and not isinstance(model.network, Retriever):
        found = model.network.search(requests, model.dataset.num_items + 1)
        scores = torch.full((len(requests), model.dataset.num_items + 1), -torch.inf)
        return scores.scatter(1, found.items, found.scores)[:, 1:]
    return pair_scores(model.network, requests, items)


def _examples(settings: ModelSettings, dataset: Dataset, size: int = 1_000) -> Examples:
    assert settings.sampling is not None
    return training_batches(dataset, settings.sampling, batch_size=size, seed=0).get(0, 0)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter(name: str, dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = TRAINED[name].build(dataset.catalogue())
    assert isinstance(network, Trainable)
    network.loss(_examples(TRAINED[name], dataset)).backward()
    for parameter, values in network.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.abs().sum() > 1e-9, parameter
        assert torch.isfinite(values.grad).all(), parameter


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_the_slope_of_the_loss(name: str, dataset: Dataset) -> None:
    """In float64, along a random direction of all weights at once."""
    torch.manual_seed(0)
    exact = _in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue()).double().eval()
    assert isinstance(network, Trainable)
    examples = _examples(TRAINED[name], exact)
    network.loss(examples).backward()
    weights = list(network.parameters())
    draw = torch.Generator().manual_seed(1)
    along = [torch.randn(each.shape, generator=draw, dtype=torch.float64) for each in weights]
    for each in network.modules():
        if isinstance(each, torch.nn.Embedding) and each.padding_idx is not None:
            place = next(number for number, weight in enumerate(weights) if weight is each.weight)
            along[place][each.padding_idx] = 0
    slope = sum(
        float((each.grad * step).sum()) for each, step in zip(weights, along, strict=True) if each.grad is not None
    )
    values = []
    with torch.no_grad():
        for move in (STEP, -2 * STEP):
            for each, step in zip(weights, along, strict=True):
                each += move * step
            values.append(float(network.loss(examples)))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * STEP), rel=1e-4, abs=1e-6)


def _in_float64(dataset: Dataset) -> Dataset:
    def exact(features: Features | None) -> Features | None:
        if features is None:
            return None
        numbers = {name: getattr(features, name) for name in ("numeric", "vectors")}
        return replace(features, **{name: part.double() for name, part in numbers.items() if part is not None})

    weights = None if dataset.events.weights is None else dataset.events.weights.double()
    ratings = None if dataset.events.ratings is None else dataset.events.ratings.double()
    return replace(
        dataset,
        events=replace(dataset.events, weights=weights, ratings=ratings),
        item_features=exact(dataset.item_features),
        user_features=exact(dataset.user_features),
        context=exact(dataset.context),
    )


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_served_is_what_gradients_are_taken_of(name: str, dataset: Dataset) -> None:
    """Without gradients some things are computed another way."""
    torch.manual_seed(0)
    exact = _in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue().with_evidence(2)).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    requests = _requests(exact, history_width(TRAINED[name]))
    items = torch.arange(1, 9).repeat(len(requests), 1)

    def answer() -> Tensor:
        if isinstance(network, Ranker):
            evidence = torch.stack(
                (torch.arange(8.0).sin().expand(items.shape), torch.arange(8.0).expand(items.shape)), 2
            )
            return network.score(requests, Candidates(items, torch.zeros(items.shape), evidence.double()))
        assert isinstance(network, Retriever)
        return network.embed_requests(requests)

    with torch.inference_mode():
        served = answer()
    torch.testing.assert_close(served, answer())


@pytest.mark.parametrize("name", ALL)
def test_batch_mates_change_nothing(name: str, dataset: Dataset) -> None:
    model = _fitted(ALL[name], dataset)
    requests = _requests(dataset, history_width(ALL[name]))
    together = _scores(model, requests)
    alone = torch.cat([_scores(model, requests.take(torch.tensor([row]))) for row in range(len(requests))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_nothing(name: str, dataset: Dataset) -> None:
    model = _fitted(ALL[name], dataset)
    requests = _requests(dataset, history_width(ALL[name]))
    if requests.history is None:
        assert history_width(ALL[name]) == 0  # nothing is padded
        return
    longer = replace(requests, history=torch.nn.functional.pad(requests.history, (0, 3)))
    torch.testing.assert_close(_scores(model, requests), _scores(model, longer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_the_order_of_candidates_changes_nothing(name: str, dataset: Dataset) -> None:
    model = _fitted(TRAINED[name], dataset)
    requests = _requests(dataset, history_width(TRAINED[name]))
    items = torch.arange(1, 11).expand(len(requests), -1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    in_order, shuffled = (pair_scores(model.network, requests, chosen) for chosen in (items, items[:, order]))
    torch.testing.assert_close(in_order[:, order], shuffled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, settings in TRAINED.items() if isinstance(settings, RANKERS)])
def test_a_ranker_with_evidence_ignores_order_and_empty_slots(name: str, dataset: Dataset) -> None:
    """In float64: weights as large as these make scores whose float32 rounding depends on the order."""
    torch.manual_seed(0)
    exact = _in_float64(dataset)
    network = TRAINED[name].build(exact.catalogue().with_evidence(2)).double()
    assert isinstance(network, Ranker)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    requests = _requests(exact, history_width(TRAINED[name]))
    items = torch.arange(1, 9).expand(len(requests), -1)
    evidence = torch.stack((torch.randn(items.shape), torch.arange(8.0).expand(items.shape)), dim=2).double()
    full = Candidates(items, torch.zeros(items.shape), evidence)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = Candidates(items[:, order], torch.zeros(items.shape), evidence[:, order])
    padded = Candidates(*(torch.nn.functional.pad(part, (0, 2)) for part in (items, torch.zeros(items.shape))),
                        torch.nn.functional.pad(evidence, (0, 0, 0, 2), value=7.0))  # fmt: skip
    wanted = network.score(requests, full)
    torch.testing.assert_close(network.score(requests, shuffled), wanted[:, order])
    torch.testing.assert_close(network.score(requests, padded)[:, :8], wanted)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in SEQUENTIAL and "unordered" not in name])
def test_nothing_sees_the_future(name: str, dataset: Dataset) -> None:
    """What a user does later must not change the request that an earlier event is learnt from, nor its score."""
    events, settings = dataset.events, TRAINED[name]
    later = torch.arange(len(events)) >= (events.offsets[:-1] + events.lengths // 2)[events.rows()]
    other = torch.where(later, events.items % dataset.num_items + 1, events.items)
    changed = replace(dataset, events=replace(events, items=other))
    first, second = _examples(settings, dataset), _examples(settings, changed)
    assert first.requests.time is not None
    assert events.times is not None
    early = torch.isin(first.requests.time, events.times[~later]).nonzero().squeeze(1)
    assert len(early) > 30
    assert torch.equal(first.items[early], second.items[early])
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue())
    scores = [pair_scores(network, examples.requests.take(early), first.items[early]) for examples in (first, second)]
    assert torch.equal(scores[0], scores[1])


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_no_step_of_a_sequence_sees_the_next_ones(name: str, dataset: Dataset) -> None:
    """What comes later in a sequence must not change what its early steps cost, nor their gradients."""
    settings = TRAINED[name]
    examples = _examples(settings, dataset)
    history = examples.requests.history
    assert history is not None
    early = torch.arange(history.shape[1]) < 3
    changed = torch.where(early | (history == 0), history, history % dataset.num_items + 1)
    assert not torch.equal(history, changed)
    items = torch.where(early, examples.items, 0)
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue())
    assert isinstance(network, Trainable)
    found = []
    for seen in (history, changed):
        value = network.loss(replace(examples, items=items, requests=replace(examples.requests, history=seen)))
        found.append((value, *torch.autograd.grad(value, list(network.parameters()), materialize_grads=True)))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_eight_sequences_are_memorised(name: str, dataset: Dataset) -> None:
    rows = (dataset.events.lengths > 2).nonzero().squeeze(1)[:8]
    first, wanted = dataset.events.offsets[rows], torch.arange(3, 19, 2)
    items = dataset.events.items.clone()
    items[first], items[first + 1] = (wanted + 1).to(items.dtype), wanted.to(items.dtype)
    kept = torch.isin(torch.arange(len(items)), torch.cat((first, first + 1)))
    few = replace(dataset, events=replace(dataset.events, items=items).select(kept))
    few = replace(few, target_start=few.events.offsets[:-1])
    model = fit(TRAINED[name], few, training=Training(epochs=200, patience=None, batch_size=8, learning_rate=0.02))
    asked = Requests(torch.zeros(8, dtype=torch.int64), (wanted + 1)[:, None], torch.ones(8, dtype=torch.int64))
    assert (_scores(model, asked).argmax(1) + 1).tolist() == wanted.tolist()


# An unordered model knows a user by the other events alone, and here each has one.
OF_ONE = [name for name in TRAINED if not any(word in name for word in ("ratings", "unordered"))]


@pytest.mark.parametrize("name", [name for name in OF_ONE if name not in SEQUENTIAL])
def test_eight_requests_are_memorised(name: str, dataset: Dataset) -> None:
    settings = TRAINED[name]
    if isinstance(settings, TwoTower):
        settings = replace(settings, id_dropout=0.0)
    rows = (dataset.events.lengths > 2).nonzero().squeeze(1)[:8]
    first, wanted = dataset.events.offsets[rows], torch.arange(3, 19, 2)
    items = dataset.events.items.clone()
    items[first] = wanted.to(items.dtype)
    eight = replace(dataset.events, items=items).select(torch.isin(torch.arange(len(items)), first))
    few = replace(dataset, events=eight, target_start=eight.offsets[:-1])
    rate = 0.005 if isinstance(settings, CrossAttention) else 0.02  # attention wants smaller steps
    model = fit(settings, few, training=Training(epochs=300, patience=None, batch_size=8, learning_rate=rate))
    assert settings.sampling is not None
    examples = _examples(settings, few, size=8)
    best = _scores(model, examples.requests).argmax(1) + 1
    assert best.tolist() == examples.items[:, 0].tolist()


@pytest.mark.parametrize("name", [name for name in TRAINED if "ratings" in name])
def test_eight_ratings_are_memorised(name: str, dataset: Dataset) -> None:
    first = dataset.events.offsets[(dataset.events.lengths > 2).nonzero().squeeze(1)[:8]]
    eight = dataset.events.select(torch.isin(torch.arange(len(dataset.events)), first))
    few = replace(dataset, events=eight, target_start=eight.offsets[:-1])
    model = fit(TRAINED[name], few, training=Training(epochs=500, patience=None, batch_size=8, learning_rate=0.02))
    assert eight.ratings is not None
    torch.testing.assert_close(model.score_events(few), eight.ratings, atol=0.2, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_models_score_the_same(name: str, dataset: Dataset, tmp_path: Any) -> None:
    model = _fitted(ALL[name], dataset)
    write_bundle(tmp_path / "model", Bundle({"model": model.to_part()}, dataset))
    bundle = read_bundle(tmp_path / "model")
    again = Model.from_part(bundle.parts["model"], bundle.dataset)
    requests = _requests(dataset, history_width(ALL[name]))
    assert again.settings == model.settings
    assert torch.equal(_scores(model, requests), _scores(again, requests))


@pytest.mark.parametrize("name", ALL)
def test_a_loaded_network_has_all_that_a_built_one_has(name: str, dataset: Dataset, tmp_path: Any) -> None:
    """Loading draws no random numbers and copies no weights, and leaves nothing out for that."""
    model = _fitted(ALL[name], dataset)
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


@needs_gpu
@pytest.mark.parametrize("name", TRAINED)
def test_a_gpu_computes_the_same_loss_and_gradients(name: str, dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = TRAINED[name].build(dataset.catalogue()).eval()  # nothing is dropped by chance
    for part in network.modules():
        part.train(isinstance(part, torch.nn.GRU))  # cuDNN gives gradients in training alone
    examples = _examples(TRAINED[name], dataset)
    found = []
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        with torch.backends.cudnn.flags(allow_tf32=False):
            value = network.loss(move(examples, torch.device(device)))
            value.backward()
        found.append([value.item(), *(each.grad.to("cpu", copy=True) for each in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_model_trains_on_a_gpu_and_comes_back(name: str, precision: str, dataset: Dataset) -> None:
    train, valid, _ = split_last_out(dataset)
    metric = "rmse" if "ratings" in name else "ndcg@10"
    on_gpu = Training(epochs=3, batch_size=32, device="cuda", precision=precision, metric=metric)
    model = fit(TRAINED[name], train, validation=valid, training=on_gpu)
    assert model.log.epochs
    assert all(each.device.type == "cpu" and bool(torch.isfinite(each).all()) for each in model.network.parameters())
    _scores(model, _requests(train, history_width(TRAINED[name])))


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
    model = _fitted(ALL[name], dataset)
    table = _rich_items() if "all kinds" in name else _more_items(dataset)
    requests = _requests(dataset, history_width(ALL[name]))
    known = torch.arange(1, 21).expand(len(requests), -1)
    is_source = isinstance(model.network, CandidateSource) and not isinstance(model.network, Retriever)
    before = _scores(model, requests)
    grown_models, larger = [model], dataset
    for row in range(3):
        larger, _ = with_items(larger, table[row : row + 1])
        grown_models.append(grown(grown_models[-1], larger))
        _scores(grown_models[-1], requests)  # what is computed once and kept must not hide what comes later
    again = grown_models[-1]
    assert torch.equal(_scores(model, requests), before)
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
    torch.testing.assert_close(_scores(again, requests), _scores(copied, requests), rtol=rounding, atol=rounding)
    if isinstance(again.network, Retriever) and isinstance(copied.network, Retriever):
        items = torch.arange(23)
        assert torch.equal(again.network.embed_items(items), copied.network.embed_items(items))


GROWING = [name for name in ALL if "all kinds" not in name]


@pytest.mark.parametrize("name", GROWING)
def test_a_model_grown_for_new_items_scores_the_known_ones_as_before(name: str, dataset: Dataset) -> None:
    model = _fitted(ALL[name], dataset)
    larger, touched = with_items(dataset, _more_items(dataset)[:2])
    assert touched.tolist() == [21, 22]
    requests = _requests(dataset, history_width(ALL[name]))
    again = grown(model, larger)
    scores = _scores(again, requests)
    if "listwise" not in name:  # there every candidate counts for the others
        near = 0.01 if name == "ALS" else 1e-5  # its regularisation grows with the number of items
        torch.testing.assert_close(scores[:, :20], _scores(model, requests), rtol=1e-5, atol=near)
    if not isinstance(again.network, CandidateSource) or isinstance(again.network, Retriever):
        assert torch.isfinite(scores).all()


@pytest.mark.parametrize("name", GROWING)
def test_a_model_goes_on_with_new_events_users_and_items(name: str, dataset: Dataset) -> None:
    model = _fitted(ALL[name], dataset)
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
    scores = _scores(again, _requests(again.dataset, history_width(ALL[name])))
    assert scores.shape == (14, 22)  # of the unknown user, too
