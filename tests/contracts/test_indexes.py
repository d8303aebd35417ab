"""What every index must do, whatever it is; a new index gets these checks for one row in the table."""

from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from shortlist.contracts import Candidates, Filter, ItemIndex
from shortlist.errors import SearchError
from shortlist.index import HNSW, IVFPQ, Annoy, Exact, ScaNN

# Settings, and the part of the exact 100 best that they must find.
INDEXES: dict[str, tuple[Any, float]] = {
    "Exact": (Exact(), 1.0),
    "HNSW": (HNSW(recall=0.95), 0.95),
    "IVFPQ": (IVFPQ(recall=0.95), 0.95),
    "ScaNN": (ScaNN(recall=0.95), 0.95),
    "Annoy": (Annoy(recall=0.95), 0.95),
}
EXTRAS = {"ScaNN": "scann", "Annoy": "annoy"}  # libraries that may be missing
ITEMS, WIDTH, QUERIES = 5_000, 32, 200


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread(one_thread: None) -> None:
    """Every test of the file."""


@pytest.fixture(params=INDEXES, scope="module")
def settings(request: pytest.FixtureRequest) -> Any:
    if request.param in EXTRAS:
        pytest.importorskip(EXTRAS[request.param], reason=f"comes with the extra {EXTRAS[request.param]!r}")
    return INDEXES[request.param][0]


@pytest.fixture(scope="module")
def least_recall(settings: Any) -> float:
    return next(recall for known, recall in INDEXES.values() if known is settings)


def directions(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def gaussian(count: int) -> Tensor:
    return directions(count, seed=0)


def unequal_lengths(count: int) -> Tensor:
    lengths = torch.randn(count, 1, generator=torch.Generator().manual_seed(1)).exp()
    return torch.nn.functional.normalize(directions(count, seed=2)) * lengths


def clustered(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 4 * directions(20, seed=4)[torch.randint(0, 20, (count,), generator=generator)] + directions(count, seed=5)


def few_strong_dimensions(count: int) -> Tensor:
    """As matrix factorisations give: a decaying spectrum, and one dimension that is popularity."""
    vectors = directions(count, seed=6) * torch.exp(-torch.arange(WIDTH) / 8)
    vectors[:, 0] += torch.rand(count, generator=torch.Generator().manual_seed(7)) * 4
    return vectors


def many_equal(count: int) -> Tensor:
    vectors = directions(count, seed=8)
    vectors[: count // 5] = vectors[0]
    vectors[count // 5 : count // 3] = 0
    return vectors


@pytest.fixture(scope="module")
def queries() -> Tensor:
    return directions(QUERIES, seed=99)


@pytest.fixture(scope="module")
def items() -> Tensor:
    """Indices with gaps, not in order."""
    order = torch.randperm(2 * ITEMS, generator=torch.Generator().manual_seed(9))
    return order[:ITEMS] + 1


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    return gaussian(ITEMS)


@pytest.fixture(scope="module")
def index(settings: Any, items: Tensor, vectors: Tensor, queries: Tensor) -> ItemIndex:
    return settings.build(items, vectors, queries=queries)


def small(settings: Any, count: int = 300) -> tuple[ItemIndex, Tensor, Tensor]:
    """An index of items 1 to ``count`` that a test may edit, with its items and vectors."""
    items, vectors = torch.arange(1, count + 1), gaussian(count)
    return settings.build(items, vectors), items, vectors


def best(
    queries: Tensor, items: Tensor, vectors: Tensor, k: int, eligible: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best by brute force in numpy: items and scores, 0 and -inf where fewer are ``eligible`` (B, n)."""
    scores = queries.numpy().astype(np.float64) @ vectors.numpy().astype(np.float64).T
    if eligible is not None:
        scores = np.where(eligible, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    sorted_scores = np.take_along_axis(scores, order, 1)
    return np.where(np.isneginf(sorted_scores), 0, items.numpy()[order]), sorted_scores


def overlap(found: Candidates, truth: np.ndarray) -> float:
    """Of the true items, the part that was found."""
    pairs = zip(found.items.tolist(), truth.tolist(), strict=True)
    counts = [(len((set(row) & set(true)) - {0}), len(set(true) - {0})) for row, true in pairs]
    return sum(hit for hit, _ in counts) / sum(wanted for _, wanted in counts)


def check_form(found: Candidates, k: int) -> None:
    """Best first, no item twice, empty slots last."""
    assert found.items.shape == found.scores.shape == (len(found), k)
    assert (found.items.dtype, found.scores.dtype) == (torch.int64, torch.float32)
    assert bool((found.scores[:, 1:] <= found.scores[:, :-1]).all())
    assert bool((found.valid == (found.scores > -torch.inf)).all())
    for row in found.items.tolist():
        answered = [item for item in row if item]
        assert len(set(answered)) == len(answered)


def check_scores(found: Candidates, queries: Tensor, items: Tensor, vectors: Tensor) -> None:
    """Every score is the inner product with the item's vector."""
    row_of = {item: row for row, item in enumerate(items.tolist())}
    for query, answered, scores in zip(queries, found.items.tolist(), found.scores, strict=True):
        kept = [row_of[item] for item in answered if item]
        torch.testing.assert_close(scores[: len(kept)], vectors[kept] @ query, rtol=1e-4, atol=1e-4)


def test_finds_what_brute_force_finds(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor
) -> None:
    found = index.search(queries, 100)
    check_form(found, 100)
    check_scores(found, queries, items, vectors)
    truth, scores = best(queries, items, vectors, 100)
    assert overlap(found, truth) >= least_recall
    if least_recall == 1:
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "count"), [(unequal_lengths, ITEMS), (clustered, 2_000), (few_strong_dimensions, 2_000)]
)
def test_finds_as_much_whatever_the_vectors_look_like(
    settings: Any, least_recall: float, items: Tensor, queries: Tensor, make: Any, count: int
) -> None:
    vectors = make(count)
    found = settings.build(items[:count], vectors, queries=queries).search(queries, 100)
    check_scores(found, queries, items[:count], vectors)
    assert overlap(found, best(queries, items[:count], vectors, 100)[0]) >= least_recall


def test_many_equal_vectors_are_all_findable(
    settings: Any, least_recall: float, items: Tensor, queries: Tensor
) -> None:
    items, vectors = items[:2_000], many_equal(2_000)
    near = vectors[:1] + 0.1 * queries
    found = settings.build(items, vectors, queries=near).search(near, 100)
    check_form(found, 100)
    _, scores = best(near, items, vectors, 100)
    assert (found.scores.numpy() >= scores[:, -1:] - 1e-3).mean() >= least_recall


@pytest.mark.parametrize("k", [1, 10, 400])
def test_any_k_is_answered_as_well(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor, k: int
) -> None:
    found = index.search(queries, k)
    check_form(found, k)
    assert overlap(found, best(queries, items, vectors, k)[0]) >= least_recall - 0.02


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0.001])
def test_a_mask_lets_only_its_items_pass_and_no_answer_is_short(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor, share: float
) -> None:
    allowed = torch.rand(2 * ITEMS + 1, generator=torch.Generator().manual_seed(11)) < share
    for batch in (queries, queries[:1]):
        found = index.search(batch, 50, filter=Filter(allowed=allowed))
        check_form(found, 50)
        assert bool(allowed[found.items[found.valid]].all())
        num_eligible = int(allowed[items].sum())
        assert found.valid.sum(1).tolist() == [min(50, num_eligible)] * len(batch)
    found = index.search(queries, 50, filter=Filter(allowed=allowed))
    truth, _ = best(queries, items, vectors, 50, allowed[items].numpy()[None, :].repeat(QUERIES, 0))
    assert overlap(found, truth) >= least_recall - 0.02


@pytest.mark.parametrize("length", [0, 3, 30, 2_000])
def test_lists_of_allowed_items_are_searched_exactly(
    index: ItemIndex, items: Tensor, vectors: Tensor, queries: Tensor, length: int
) -> None:
    allowed = torch.randint(0, 2 * ITEMS + 1, (QUERIES, length), generator=torch.Generator().manual_seed(12))
    found = index.search(queries, 20, filter=Filter(allowed=allowed))
    check_form(found, 20)
    eligible = np.stack([np.isin(items.numpy(), row) for row in allowed.numpy()])
    truth, scores = best(queries, items, vectors, 20, eligible)
    assert (found.items.numpy() == truth).mean() > 0.999  # rounding may swap neighbours
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)


def test_excluded_items_make_room_for_the_next_best(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor
) -> None:
    truth, _ = best(queries, items, vectors, 150)
    exclude = torch.from_numpy(truth[:, :100]).clone()
    for row in range(QUERIES):
        exclude[row, row % 100 :] = 0  # every request excludes another number of its best
    found = index.search(queries, 50, filter=Filter(exclude=exclude))
    check_form(found, 50)
    assert bool(found.valid.all())
    for row in range(QUERIES):
        assert not set(found.items[row].tolist()) & set(exclude[row].tolist())
    expected = np.stack([truth[row, row % 100 :][:50] for row in range(QUERIES)])
    assert overlap(found, expected) >= least_recall - 0.02


def test_masks_lists_and_exclusions_combine(index: ItemIndex, items: Tensor, vectors: Tensor, queries: Tensor) -> None:
    chosen = items[torch.randperm(ITEMS, generator=torch.Generator().manual_seed(13))[:60]]
    mask = torch.zeros(2 * ITEMS + 1, dtype=torch.bool)
    mask[chosen] = True
    exclude = chosen[None, :20].repeat(QUERIES, 1)
    eligible = torch.isin(items, chosen[20:]).numpy()[None].repeat(QUERIES, 0)
    _, scores = best(queries, items, vectors, 50, eligible)
    for allowed in (mask, chosen[None].repeat(QUERIES, 1)):
        found = index.search(queries, 50, filter=Filter(allowed=allowed, exclude=exclude))
        check_form(found, 50)
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)
        assert found.valid.sum(1).tolist() == [40] * QUERIES


def test_nothing_allowed_is_an_empty_answer(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    nothing = Filter(allowed=torch.zeros(2 * ITEMS + 1, dtype=torch.bool))
    everything_excluded = Filter(exclude=items[None].repeat(4, 1))
    for filter in (nothing, everything_excluded):
        found = index.search(queries[:4], 7, filter=filter)
        check_form(found, 7)
        assert not bool(found.valid.any())


def test_more_than_the_catalogue_is_the_catalogue_and_empty_slots(settings: Any, queries: Tensor) -> None:
    index, items, vectors = small(settings, 30)
    found = index.search(queries, 50)
    check_form(found, 50)
    assert found.valid.sum(1).tolist() == [30] * QUERIES
    assert (found.items[:, :30].numpy() == best(queries, items, vectors, 30)[0]).mean() > 0.999


def test_one_item_is_found(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.tensor([7]), torch.ones(1, WIDTH))
    found = index.search(queries, 3)
    assert found.items.tolist() == [[7, 0, 0]] * QUERIES
    torch.testing.assert_close(found.scores[:, 0], queries.sum(1), rtol=1e-4, atol=1e-5)


def test_an_empty_index_answers_nothing_until_items_are_added(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.empty(0, dtype=torch.int64), torch.empty(0, WIDTH))
    assert len(index) == 0
    assert index.search(queries, 3).items.tolist() == [[0, 0, 0]] * QUERIES
    assert len(settings.restore(index.arrays())) == 0
    index.add(torch.tensor([4]), torch.ones(1, WIDTH))
    assert index.search(queries, 1).items.tolist() == [[4]] * QUERIES


def test_no_requests_are_no_answers(index: ItemIndex) -> None:
    assert index.search(torch.empty(0, WIDTH), 5).items.shape == (0, 5)


def test_an_answer_does_not_depend_on_the_others_in_the_batch(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    exclude = items[torch.arange(QUERIES * 7).reshape(QUERIES, 7) % ITEMS]
    exclude[:100, 2:] = 0
    exclude[:10] = 0
    together = index.search(queries, 40, filter=Filter(exclude=exclude))
    for row in (0, 17, 150, QUERIES - 1):
        alone = index.search(queries[row : row + 1], 40, filter=Filter(exclude=exclude[row : row + 1]))
        assert set(alone.items[0].tolist()) == set(together.items[row].tolist())
        torch.testing.assert_close(alone.scores[0], together.scores[row], rtol=1e-4, atol=1e-5)


def test_the_same_call_gives_the_same_answer(settings: Any, items: Tensor, vectors: Tensor, queries: Tensor) -> None:
    faiss.omp_set_num_threads(2)
    builds = [settings.build(items[:1_000], vectors[:1_000]) for _ in range(2)]
    first = builds[0].search(queries, 100)
    for other in (builds[0].search(queries, 100), builds[1].search(queries, 100)):
        assert torch.equal(first.items, other.items)
        assert torch.equal(first.scores, other.scores)
    faiss.omp_set_num_threads(1)


def test_arrays_restore_an_index_that_answers_the_same(settings: Any, index: ItemIndex, queries: Tensor) -> None:
    arrays = load(save(index.arrays()))
    restored = settings.restore(arrays)
    before, after = index.search(queries, 100), restored.search(queries, 100)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)
    assert len(restored) == len(index)
    again = restored.arrays()
    assert again.keys() == arrays.keys()
    assert all(torch.equal(again[name], arrays[name]) for name in arrays)


def test_arrays_restore_edits_too(settings: Any, queries: Tensor) -> None:
    index, _, _ = small(settings)
    index.remove(torch.tensor([3, 4, 5]))
    index.add(torch.tensor([900, 3]), directions(2, seed=20))
    index.replace(torch.tensor([10, 900]), directions(2, seed=21))
    restored = settings.restore(load(save(index.arrays())))
    before, after = index.search(queries, 300), restored.search(queries, 300)
    assert torch.equal(before.items, after.items)
    torch.testing.assert_close(before.scores, after.scores)
    restored.remove(torch.tensor([900]))
    assert 900 not in restored.search(queries, 300).items


def test_every_array_has_to_be_there_and_of_its_type(settings: Any) -> None:
    arrays = small(settings)[0].arrays()
    for name in arrays:
        without = {other: array for other, array in arrays.items() if other != name}
        with pytest.raises(SearchError, match=name):
            settings.restore(without)
        with pytest.raises(SearchError, match=name):
            settings.restore(arrays | {name: arrays[name].to(torch.float16)})


def test_arrays_that_do_not_fit_together_are_refused(settings: Any) -> None:
    arrays = small(settings)[0].arrays()
    for name in ("items", "vectors"):
        with pytest.raises(SearchError):
            settings.restore(arrays | {name: arrays[name][:-1]})
    broken = arrays["vectors"].clone()
    broken[5, 1] = torch.nan
    with pytest.raises(SearchError, match="row 5"):
        settings.restore(arrays | {"vectors": broken})
    with pytest.raises(SearchError, match="once"):
        settings.restore(arrays | {"items": torch.ones_like(arrays["items"])})


def test_added_items_are_found_at_once(settings: Any) -> None:
    index, _, vectors = small(settings)
    index.add(torch.tensor([1_000, 301]), torch.stack((vectors[0] * 9, vectors[1] * 9)))
    assert len(index) == 302
    assert index.search(vectors[:2], 1).items.tolist() == [[1_000], [301]]
    masked = torch.ones(1_001, dtype=torch.bool)
    masked[1_000] = False
    assert 1_000 not in index.search(vectors[:2], 302, filter=Filter(allowed=masked)).items
    listed = index.search(vectors[:1], 2, filter=Filter(allowed=torch.tensor([[1_000, 5]])))
    assert listed.items.tolist() == [[1_000, 5]]


def test_replaced_items_are_found_by_their_new_vectors_alone(settings: Any) -> None:
    index, _, vectors = small(settings)
    index.replace(torch.tensor([1]), -9 * vectors[:1])
    assert len(index) == 300
    assert 1 not in index.search(vectors[:1], 150).items
    assert index.search(-vectors[:1], 1).items.tolist() == [[1]]
    index.replace(torch.tensor([1]), 9 * vectors[:1])
    assert index.search(vectors[:1], 1).items.tolist() == [[1]]
    assert index.search(vectors[:1], 300).valid.sum() == 300


def test_removed_items_are_never_answered(settings: Any, queries: Tensor) -> None:
    index, items, vectors = small(settings)
    gone = torch.cat((torch.arange(2, 200), torch.tensor([300])))
    index.remove(gone)
    assert len(index) == 101
    left = ~torch.isin(items, gone)
    for k in (10, 101, 300):
        found = index.search(queries, k)
        assert not bool(torch.isin(found.items, gone).any())
        assert found.valid.sum(1).tolist() == [min(k, 101)] * QUERIES
    truth, _ = best(queries, items[left], vectors[left], 101)
    assert (index.search(queries, 101).items.numpy() == truth).mean() > 0.999
    everything = Filter(allowed=torch.ones(301, dtype=torch.bool))
    assert not bool(torch.isin(index.search(queries, 101, filter=everything).items, gone).any())
    assert not bool(index.search(queries[:1], 5, filter=Filter(allowed=gone[None])).valid.any())
    index.add(torch.tensor([2]), vectors[1:2])
    assert len(index) == 102
    index.remove(torch.cat((items[left], torch.tensor([2]))))
    assert not bool(index.search(queries, 5).valid.any())


def test_after_twice_the_catalogue_was_edited_it_finds_as_much(
    settings: Any, least_recall: float, queries: Tensor
) -> None:
    count, rounds = 1_800, 12
    vectors = unequal_lengths(count * 3)
    index = settings.build(torch.arange(1, count + 1), vectors[:count], queries=queries)
    step = count // 6
    for number in range(rounds):
        new = torch.arange(count + number * step + 1, count + (number + 1) * step + 1)
        index.add(new, vectors[new - 1])
        index.remove(new - count)
    last = torch.arange(2 * count + 1, 3 * count + 1)
    found = index.search(queries, 100)
    assert len(index) == count
    check_form(found, 100)
    assert overlap(found, best(queries, last, vectors[last - 1], 100)[0]) >= least_recall - 0.01


def test_readers_see_every_edit_whole(settings: Any, queries: Tensor) -> None:
    index, _, vectors = small(settings)
    pair, wrong, stop = torch.tensor([801, 802]), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            answered = set(index.search(vectors[:1], 3).items[0].tolist())
            if len(answered & {801, 802}) == 1 or len(answered) != 3:
                wrong.append(answered)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(50):
        index.add(pair, vectors[:1].repeat(2, 1) * 5)
        index.remove(pair)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_several_threads_search_at_once_and_get_what_one_gets(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    mask = Filter(allowed=torch.arange(2 * ITEMS + 1) % 3 > 0)
    expected = [index.search(queries, 20), index.search(queries, 20, filter=mask)]
    different: list[int] = []

    def read(number: int) -> None:
        for _ in range(5):
            found = index.search(queries, 20, filter=None if number % 2 == 0 else mask)
            if not torch.equal(found.items, expected[number % 2].items):
                different.append(number)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not different


def test_what_the_caller_changes_later_does_not_reach_the_index(settings: Any, queries: Tensor) -> None:
    items, vectors = torch.arange(1, 101), gaussian(100)
    index = settings.build(items, vectors)
    before = index.search(queries, 10)
    items += 1
    vectors.zero_()
    after = index.search(queries, 10)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)


def test_other_types_and_layouts_are_taken(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.arange(1, 51, dtype=torch.int32), gaussian(50).to(torch.float64).T.contiguous().T)
    expected = index.search(queries, 5)
    for same in (queries.to(torch.float64), queries.T.contiguous().T, queries.clone().requires_grad_()):
        assert torch.equal(index.search(same, 5).items, expected.items)
    filters = Filter(allowed=torch.arange(51, dtype=torch.int32)[None].repeat(QUERIES, 1))
    assert torch.equal(index.search(queries, 5, filter=filters).items, expected.items)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_a_query_that_is_not_a_number_is_named(index: ItemIndex, queries: Tensor, value: float) -> None:
    broken = queries.clone()
    broken[[3, 8], 2] = value
    with pytest.raises(SearchError, match=r"in 2 rows, the first is row 3"):
        index.search(broken, 5)


@pytest.mark.parametrize(
    ("asked", "k", "filter", "message"),
    [
        (torch.ones(2, WIDTH - 1), 5, None, f"width {WIDTH - 1}.*width {WIDTH}"),
        (torch.ones(WIDTH), 5, None, "matrix"),
        (torch.ones(2, WIDTH, dtype=torch.int64), 5, None, "floating point"),
        (torch.ones(2, WIDTH), 0, None, "k is 0"),
        (torch.ones(2, WIDTH), -3, None, "k is -3"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=torch.ones(3, 1, dtype=torch.int64)), "3 rows for 2 requests"),
        (torch.ones(2, WIDTH), 5, Filter(allowed=torch.ones(3, 1, dtype=torch.int64)), "3 rows for 2 requests"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=-torch.ones(2, 1, dtype=torch.int64)), "the item -1"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=torch.ones(2, 1)), "integers"),
        (torch.ones(2, WIDTH), 5, Filter(allowed=torch.ones(9, dtype=torch.bool)), "one value for each index"),
    ],
)
def test_a_bad_request_is_an_error_that_says_why(
    index: ItemIndex, asked: Tensor, k: int, filter: Filter | None, message: str
) -> None:
    with pytest.raises(SearchError, match=message):
        index.search(asked, k, filter=filter)


@pytest.mark.parametrize(
    ("indices", "rows", "message"),
    [
        ([1, 2], torch.ones(3, WIDTH), "2 items and 3 vectors"),
        ([0, 2], torch.ones(2, WIDTH), "run from 1; found 0"),
        ([1, -2], torch.ones(2, WIDTH), "found -2"),
        ([5, 5], torch.ones(2, WIDTH), "such as item 5"),
        ([1, 2], torch.ones(2, WIDTH) * torch.nan, "in 2 rows, the first is row 0"),
        ([1, 2], torch.ones(2, 0), "width"),
        ([1, 2**40], torch.ones(2, WIDTH), "2\\^31"),
    ],
)
def test_a_bad_catalogue_is_an_error_that_says_why(
    settings: Any, indices: list[int], rows: Tensor, message: str
) -> None:
    with pytest.raises(SearchError, match=message):
        settings.build(torch.tensor(indices), rows)


def test_an_edit_that_makes_no_sense_is_an_error_and_changes_nothing(settings: Any) -> None:
    index, _, _ = small(settings, 20)
    one = torch.ones(1, WIDTH)
    with pytest.raises(SearchError, match=r"1 of 1 items are in the index already, such as item 3.*replace"):
        index.add(torch.tensor([3]), one)
    with pytest.raises(SearchError, match=r"not in the index, such as item 21.*add"):
        index.replace(torch.tensor([21]), one)
    with pytest.raises(SearchError, match=r"1 of 2 items are not in the index, such as item 99"):
        index.remove(torch.tensor([1, 99]))
    with pytest.raises(SearchError, match="width 5"):
        index.add(torch.tensor([21]), torch.ones(1, 5))
    with pytest.raises(SearchError, match="NaN"):
        index.add(torch.tensor([21]), one * torch.nan)
    assert len(index) == 20
    assert index.search(one, 20).valid.sum() == 20


def test_every_build_reports_recall_speed_and_size(settings: Any, index: Any, least_recall: float) -> None:
    report = index.report
    assert report.items == ITEMS
    assert report.recall >= least_recall
    assert 0 < report.p50_ms <= report.p99_ms
    assert report.queries_per_s > 0
    assert report.build_s > 0
    assert report.bytes_per_item >= 4 * WIDTH
    assert type(settings).__name__ in str(report)
    assert index.report is report


def test_what_can_be_answered_is_told_after_edits(settings: Any) -> None:
    index, items, vectors = small(settings)
    index.remove(items[:10])
    index.add(torch.tensor([900]), vectors[:1])
    alive, own = index.alive()
    order = alive.argsort()
    assert torch.equal(alive[order], torch.cat((items[10:], torch.tensor([900]))))
    assert torch.equal(own[order], torch.cat((vectors[10:], vectors[:1])))


def test_a_sweep_holds_exact_search_and_the_index_as_it_is_searched(index: ItemIndex) -> None:
    points = index.sweep()
    exact = [point for point in points if point.setting == "exact"]
    assert [point.recall for point in exact] == [1.0]
    used = [point for point in points if point.is_used]
    assert [point.recall for point in used] == pytest.approx([index.report.recall])  # type: ignore[attr-defined]
    assert all(0 < point.recall <= 1 and point.queries_per_s > 0 for point in points)
