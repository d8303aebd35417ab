import numpy as np
import pytest
from sklearn import metrics as reference

from shortlist.errors import DataError, SettingsError
from shortlist.evaluation.pointwise import auc, errors, grouped_auc, log_loss, log_losses, mae, rmse, rows_below


def sample(rows: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.random(rows).round(2)  # rounding makes ties
    return probability, (rng.random(rows) < probability).astype(int)


def test_auc_and_log_loss_equal_scikit_learn_on_random_data() -> None:
    probability, label = sample()
    assert auc(probability, labels=label) == pytest.approx(reference.roc_auc_score(label, probability), abs=1e-12)
    expected = reference.log_loss(label, probability.clip(1e-7, 1 - 1e-7))
    assert log_loss(probability, labels=label) == pytest.approx(expected, abs=1e-9)


def test_rmse_and_mae_equal_scikit_learn_on_random_data() -> None:
    rng = np.random.default_rng(0)
    predicted, rating = rng.normal(size=200), rng.normal(size=200)
    assert rmse(predicted, ratings=rating) == pytest.approx(
        reference.root_mean_squared_error(rating, predicted), abs=1e-12
    )
    assert mae(predicted, ratings=rating) == pytest.approx(reference.mean_absolute_error(rating, predicted), abs=1e-12)
    np.testing.assert_allclose(errors(predicted, ratings=rating), predicted - rating)


def test_constant_predictions_have_an_auc_of_one_half() -> None:
    assert auc(np.zeros(100), labels=np.arange(100) % 3 == 0) == 0.5


def test_auc_does_not_change_with_the_order_of_rows_or_the_scale_of_predictions() -> None:
    probability, label = sample()
    shuffled = np.random.default_rng(1).permutation(len(label))
    assert auc(probability[shuffled], labels=label[shuffled]) == auc(probability, labels=label)
    assert auc(3 * probability - 7, labels=label) == auc(probability, labels=label)
    assert auc(-probability, labels=label) == pytest.approx(1 - auc(probability, labels=label))


def test_grouped_auc_equals_auc_of_each_group_alone() -> None:
    probability, label = sample(300)
    group = np.random.default_rng(2).integers(0, 20, 300)
    result = grouped_auc(probability, labels=label, groups=group)
    for name, value in zip(result.groups, result.auc, strict=True):
        inside = group == name
        assert value == pytest.approx(reference.roc_auc_score(label[inside], probability[inside]), abs=1e-12)


def test_a_group_with_one_kind_of_label_is_left_out_and_counted() -> None:
    result = grouped_auc([0.9, 0.1, 0.5, 0.6], labels=[1, 0, 1, 1], groups=["a", "a", "b", "b"])
    assert result.num_dropped == 1
    assert result.mean() == result.mean(weight="positives") == result.mean(weight="none") == 1.0


def test_groups_weigh_by_impressions_unless_told_otherwise() -> None:
    result = grouped_auc([0.9, 0.1, 0.1, 0.2, 0.9], labels=[1, 0, 1, 0, 0], groups=[1, 1, 2, 2, 2])
    assert result.auc.tolist() == [1.0, 0.0]
    assert result.mean() == pytest.approx(2 / 5)
    assert result.mean(weight="positives") == pytest.approx(1 / 2)
    with pytest.raises(SettingsError, match=r"'rows'.*impressions, positives, none"):
        result.mean(weight="rows")  # type: ignore[arg-type]


def test_rows_below_counts_ties_as_half_within_each_group() -> None:
    below = rows_below(np.array([5.0, 1.0, 5.0, 3.0, 9.0]), np.array([0, 0, 0, 0, 1]))
    assert below.tolist() == [2.5, 0.0, 2.5, 1.0, 0.0]


def test_a_sure_and_wrong_prediction_costs_a_finite_loss() -> None:
    assert log_losses([0.0, 1.0], labels=[1, 0]).tolist() == pytest.approx([-np.log(1e-7)] * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([0.1, 0.2], labels=[1, 1]), "both kinds; all 2 labels are 1"),
        (lambda: auc([0.1, 0.2], labels=[1, 4]), "Labels are 0 or 1; found 4"),
        (lambda: auc([0.1], labels=[1, 0]), "1 predictions and 2 labels"),
        (lambda: auc([], labels=[]), "no predictions"),
        (lambda: auc([0.1, float("nan")], labels=[1, 0]), "1 of 2 predictions are NaN"),
        (lambda: rmse([1.0, 2.0], ratings=[1.0, float("inf")]), "1 of 2 ratings are NaN or infinite"),
        (lambda: log_loss([-2.0, 3.0], labels=[0, 1]), "Apply the sigmoid"),
        (lambda: grouped_auc([0.1, 0.2], labels=[0, 1], groups=[1]), "2 predictions and 1 groups"),
        (lambda: grouped_auc([0.1, 0.2], labels=[1, 1], groups=[1, 1]).mean(), "none of the 1 groups"),
    ],
)
def test_bad_input_says_what_was_found(call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()  # type: ignore[operator]
