import numpy as np
import pytest

from shortlist.errors import SettingsError
from shortlist.evaluation import compare, evaluate_predictions


def test_labels_give_auc_and_log_loss_with_intervals() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(2000)
    label = (rng.random(2000) < probability).astype(int)
    report = evaluate_predictions(probability, labels=label, groups=rng.integers(0, 50, 2000))
    assert [found.metric for found in report.metrics] == ["auc", "logloss", "ne", "calibration", "gauc"]
    # of uniform probabilities, the truth is known: AUC 5/6, expected loss 1/2
    for metric, truth in (("auc", 5 / 6), ("logloss", 0.5), ("gauc", 5 / 6)):
        found = report[metric]
        assert found.low is not None
        assert found.high is not None
        assert found.low < truth < found.high
        assert found.low < found.value < found.high
    assert report["ne"].value == pytest.approx(0.5 / np.log(2), abs=0.03)
    assert report["calibration"].value == pytest.approx(1, abs=0.05)
    assert report.num_users == 2000
    assert "2,000 rows, labels predicted" in str(report)


def test_the_interval_of_auc_is_as_wide_as_auc_varies() -> None:
    rng = np.random.default_rng(0)
    values, widths = [], []
    for _ in range(300):
        label = np.arange(200) % 4 == 0
        report = evaluate_predictions(1 / (1 + np.exp(-(rng.normal(size=200) + label))), labels=label, bootstrap=0)
        values.append(report["auc"].value)
        widths.append(report["auc"].high - report["auc"].low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(values), rel=0.1)


def test_groups_without_both_labels_are_counted_in_a_note() -> None:
    report = evaluate_predictions([0.9, 0.1, 0.5], labels=[1, 0, 1], groups=[1, 1, 2])
    assert report.notes == ("Groups with labels of one kind only, left out of gauc: 1 of 2.",)


def test_ratings_give_rmse_and_mae() -> None:
    report = evaluate_predictions([3.0, 4.0, 5.0, 1.0], ratings=[3.0, 2.0, 5.0, 1.0])
    assert report["rmse"].value == 1.0
    assert report["mae"].value == 0.5
    assert report["rmse"].low == 0.0
    assert evaluate_predictions([3.0], ratings=[1.0])["rmse"].low is None


def test_two_reports_on_the_same_rows_can_be_compared() -> None:
    rng = np.random.default_rng(0)
    rating = rng.normal(size=400)
    good, bad = (
        evaluate_predictions(rating + rng.normal(scale=scale, size=400), ratings=rating) for scale in (0.5, 1.0)
    )
    assert compare(good, bad, metric="mae").high < 0


@pytest.mark.parametrize("given", [{}, {"labels": [1], "ratings": [1.0]}])
def test_exactly_one_kind_of_truth_is_needed(given: dict[str, list[float]]) -> None:
    with pytest.raises(SettingsError, match="either labels or ratings"):
        evaluate_predictions([0.5], **given)
