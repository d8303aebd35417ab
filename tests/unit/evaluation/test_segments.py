import torch

from shortlist.evaluation.segments import item_segments, user_segments


def test_every_user_is_in_one_segment() -> None:
    sizes = torch.arange(0, 60)
    segments = user_segments(sizes)
    assert torch.stack(list(segments.values())).sum(0).tolist() == [1] * 60
    assert {name: int(which.sum()) for name, which in segments.items()} == {"new": 1, "occasional": 20, "heavy": 39}


def test_the_head_is_the_fewest_items_with_half_of_the_events() -> None:
    counts = torch.tensor([0, 10, 1, 30, 9, 50, 0])  # 100 events: item 5 alone has half
    segments = item_segments(counts)
    assert segments["head"].nonzero().ravel().tolist() == [5]
    assert segments["tail"].nonzero().ravel().tolist() == [1, 2, 3, 4]
    assert segments["cold"].nonzero().ravel().tolist() == [6]


def test_without_events_every_item_is_cold_and_padding_is_in_no_segment() -> None:
    segments = item_segments(torch.zeros(4, dtype=torch.int64))
    assert segments["cold"].tolist() == [False, True, True, True]
    assert not segments["head"].any()
    assert not segments["tail"].any()
