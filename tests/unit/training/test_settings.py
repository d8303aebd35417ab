from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from shortlist.errors import SettingsError
from shortlist.training.settings import Training


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("epochs", 0, "a whole number of 1 or more"),
        ("epochs", 2.5, "a whole number of 1 or more"),
        ("epochs", True, "a whole number of 1 or more"),
        ("batch_size", 0, "None or a whole number of 1 or more"),
        ("learning_rate", 0.0, "None or a number above 0"),
        ("learning_rate", float("nan"), "None or a number above 0"),
        ("learning_rate", "0.1", "None or a number above 0"),
        ("weight_decay", -1e-6, "a number of 0 or more"),
        ("betas", (0.9, 1.0), "two numbers from 0 to below 1"),
        ("betas", (0.9,), "two numbers from 0 to below 1"),
        ("betas", 0.9, "two numbers from 0 to below 1"),
        ("warmup_steps", -1, "a whole number of 0 or more"),
        ("clip_norm", 0, "None or a number above 0"),
        ("patience", 0, "None or a whole number of 1 or more"),
        ("validate_every", 0, "a whole number of 1 or more"),
        ("metric", "", "the name of a metric"),
        ("seed", -1, "a whole number of 0 or more"),
        ("threads", 0, "None or a whole number of 1 or more"),
        ("device", "gpu", "'cpu', 'cuda' or 'cuda:' with a number"),
        ("checkpoint_every_s", float("inf"), "a number of 0 or more"),
        ("precision", "float16", "one of: float32, bfloat16"),
        ("schedule", None, "one of: constant, linear, cosine"),
        ("tensorboard", 1, "true or false"),
    ],
)
def test_a_value_outside_its_range_names_the_setting_the_value_and_the_range(
    name: str, value: object, allowed: str
) -> None:
    with pytest.raises(SettingsError) as error:
        Training(**{name: value})  # type: ignore[arg-type]
    assert f"training.{name} is {value!r}" in str(error.value)
    assert allowed in str(error.value)


def test_a_mistyped_choice_gets_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'adagrad'"):
        Training(optimizer="adagard")  # type: ignore[arg-type]


def test_every_default_is_in_its_range_and_records_are_frozen() -> None:
    settings = Training()
    assert (settings.epochs, settings.patience, settings.metric) == (20, 3, "ndcg@10")
    with pytest.raises(FrozenInstanceError):
        settings.epochs = 3  # type: ignore[misc]


def test_a_list_of_betas_equals_the_tuple() -> None:
    assert Training(betas=[0.8, 0.9]) == Training(betas=(0.8, 0.9))  # type: ignore[arg-type]


def test_resolve_fills_what_is_open_and_keeps_what_was_given() -> None:
    resolved = Training(learning_rate=0.5).resolve({"learning_rate": 0.1, "batch_size": 64})
    assert (resolved.learning_rate, resolved.batch_size) == (0.5, 64)
    assert Training().resolve({}) == Training()


def test_resolve_refuses_a_recommendation_that_could_have_no_effect() -> None:
    with pytest.raises(SettingsError, match=r"training\.epochs, which is not left open"):
        Training().resolve({"epochs": 3})
    with pytest.raises(SettingsError, match="Did you mean 'learning_rate'"):
        Training().resolve({"learning_rat": 3})


def test_resolve_checks_the_recommended_values() -> None:
    with pytest.raises(SettingsError, match=r"training\.batch_size is 0"):
        Training().resolve({"batch_size": 0})


@pytest.mark.parametrize(
    ("metric", "lower"), [("rmse", True), ("logloss", True), ("mae", True), ("ndcg@10", False), ("auc", False)]
)
def test_errors_are_better_when_lower_and_other_metrics_when_higher(metric: str, lower: bool) -> None:
    assert Training(metric=metric).lower_is_better is lower
