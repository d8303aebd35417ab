import numpy as np
import pytest

from shortlist.evaluation.bootstrap import mean_intervals


def test_the_interval_is_that_of_the_normal_theory_for_many_users() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 2))
    got = mean_intervals(values, seed=1, resamples=2000)
    half = 1.96 * values.std(0) / 4000**0.5
    np.testing.assert_allclose(got[:, 0], values.mean(0) - half, atol=0.1 * half.max())
    np.testing.assert_allclose(got[:, 1], values.mean(0) + half, atol=0.1 * half.max())


def test_bundles_of_users_keep_the_width_of_the_interval() -> None:
    values = np.random.default_rng(0).exponential(size=(60_000, 1))
    low, high = mean_intervals(values, seed=0, resamples=1000)[0]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 60_000**0.5, rel=0.1)
    assert low < values.mean() < high


def test_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    columns = (rng.random((300, 400)) < 0.3).astype(float)  # 400 samples of 300 users
    bounds = mean_intervals(columns, seed=0, resamples=500)
    held = ((bounds[:, 0] <= 0.3) & (bounds[:, 1] >= 0.3)).mean()
    assert 0.92 <= held <= 0.98


def test_users_outside_of_a_column_do_not_move_it() -> None:
    values = np.full((500, 2), np.nan)
    values[:, 0] = np.random.default_rng(0).random(500)
    values[:100, 1] = values[:100, 0]
    low, high = mean_intervals(values, seed=0, resamples=1000)[1]
    half = 1.96 * values[:100, 0].std() / 10
    assert low == pytest.approx(values[:100, 0].mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values[:100, 0].mean() + half, abs=0.15 * half)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(0).random((50, 1))
    first = mean_intervals(values, seed=4, resamples=100)
    assert np.array_equal(first, mean_intervals(values, seed=4, resamples=100))
    assert not np.array_equal(first, mean_intervals(values, seed=5, resamples=100))


def test_weights_count_a_row_as_several() -> None:
    values = np.array([[0.0], [1.0]] * 200)
    low, high = mean_intervals(values, seed=0, resamples=1000, weights=np.array([3.0, 1.0] * 200))[0]
    assert low < 0.25 < high < 0.4


@pytest.mark.parametrize(("rows", "resamples"), [(0, 10), (1, 10), (5, 0)])
def test_no_interval_without_two_users_or_without_resamples(rows: int, resamples: int) -> None:
    assert np.isnan(mean_intervals(np.ones((rows, 3)), seed=0, resamples=resamples)).all()
