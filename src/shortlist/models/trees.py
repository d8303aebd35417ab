"""Boosted trees as rankers: LightGBM and CatBoost with their own treatment of categories.

Ke et al. 2017, "LightGBM: a highly efficient gradient boosting decision tree"; Prokhorenkova et al. 2018, "CatBoost:
unbiased boosting with categorical features". Both libraries come with the extra "trees".
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Examples, Requests, Sampling
from shortlist.errors import MissingExtraError, SettingsError, TrainingError, check_choices, check_ranges
from shortlist.models.columns import TreeColumns
from shortlist.models.ranking import ranker_sampling

TreeLoss = Literal["bce", "mse"]
RECOMMENDED: Mapping[str, Any] = {"learning_rate": 0.1, "batch_size": 65_536}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Growth:
    """The rows that trees learn from, and how."""

    categories: Tensor  # (M, F)
    numbers: Tensor  # (M, G)
    targets: Tensor  # (M,)
    weights: Tensor  # (M,)
    trees: int
    learning_rate: float
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class LightGBM:
    """Settings of LightGBM.

    An epoch of training grows ``trees`` of them, so that early stopping keeps the best number; ``training.learning_rate``
    is the weight of each. ``leaves`` and ``min_rows`` (in a leaf) bound a tree. It learns from labels where the data has
    them, else from ``negatives`` sampled for each positive, once; ``loss="mse"`` learns ratings.
    """

    trees: int = 20
    leaves: int = 255
    min_rows: int = 20
    loss: TreeLoss = "bce"
    negatives: int = 4

    recommended: ClassVar[Mapping[str, Any]] = RECOMMENDED

    def __post_init__(self) -> None:
        check_ranges(self, whole=("trees", "min_rows", "negatives"))
        check_choices(self, {"loss": TreeLoss})
        if self.leaves < 2:
            raise SettingsError(f"LightGBM.leaves is {self.leaves}. It is a whole number of 2 or more.")

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings."""
        return ranker_sampling(self.loss, negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The ranker, without a tree."""
        return LightGBMTrees(self, catalogue)


@dataclass(frozen=True, slots=True)
class CatBoost:
    """Settings of CatBoost, as those of LightGBM. Its trees have ``depth`` levels, and it combines categories by itself."""

    trees: int = 20
    depth: int = 8
    loss: TreeLoss = "bce"
    negatives: int = 4

    recommended: ClassVar[Mapping[str, Any]] = RECOMMENDED

    def __post_init__(self) -> None:
        check_ranges(self, whole=("trees", "depth", "negatives"))
        check_choices(self, {"loss": TreeLoss})
        if self.depth > 16:
            raise SettingsError(f"CatBoost.depth is {self.depth}. The library grows trees of up to 16 levels.")

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings."""
        return ranker_sampling(self.loss, negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The ranker, without a tree."""
        return CatBoostTrees(self, catalogue)


class Trees(nn.Module):
    """A ranker that grows from all examples at once. Its library's own format of the trees is its one weight."""

    link: Literal["sigmoid", "identity"]
    stored: Tensor  # (bytes,) uint8

    def __init__(self, settings: LightGBM | CatBoost, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings, self.columns = settings, TreeColumns(catalogue)
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        self.register_buffer("stored", torch.zeros(0, dtype=torch.uint8))
        self._model: Any = None
        self._used: int | None = None  # trees that score; None: all

    def count(self, examples: Examples) -> None:
        """Count what training will learn from, for the crossed columns."""
        if self.columns.crosses is not None:
            self.columns.crosses.count(examples)

    def grow(
        self, examples: Iterable[Examples], *, epochs: int, learning_rate: float, seed: int, threads: int
    ) -> list[float]:
        """Grow ``epochs`` times the settings' trees from all examples; the training loss after each epoch."""
        parts = [self.columns.of_examples(each) for each in examples]
        categories, numbers, targets, weights = (torch.cat(each) for each in zip(*parts, strict=True))
        each, trees = self.settings.trees, epochs * self.settings.trees
        if not (categories.ne(categories[0]).any() or numbers.ne(numbers[0]).any()):
            raise TrainingError("All columns have one value, so there is nothing for trees to split on.")
        losses = self._grow(
            Growth(categories, numbers, targets, weights, trees, learning_rate, seed=seed, threads=threads)
        )
        self._store()
        return (losses + losses[-1:] * (trees - len(losses)))[each - 1 :: each]  # it may end early, with no split left

    def use(self, epochs: int) -> None:
        """Score with the trees of the first so many epochs alone."""
        self._used = epochs * self.settings.trees

    def keep(self, epochs: int) -> None:
        """Forget all trees after the first so many epochs."""
        self._cut(epochs * self.settings.trees)
        self._used = None
        self._store()

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        if self._model is None:
            self._model = self._parse(self.stored.numpy().tobytes())
        categories, numbers = self.columns(requests, candidates.items, candidates.evidence, None)
        scores = self._predict(categories, numbers, self._used)
        return torch.from_numpy(scores).float().view(candidates.items.shape)

    def _store(self) -> None:
        self.stored = torch.frombuffer(bytearray(self._bytes()), dtype=torch.uint8)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *arguments: object) -> None:
        if (saved := state.get(prefix + "stored")) is not None:
            self.stored, self._model = torch.zeros_like(saved), None
        super()._load_from_state_dict(state, prefix, *arguments)

    def _grow(self, growth: Growth) -> list[float]:
        """Grow, and return the training loss after each tree."""
        raise NotImplementedError

    def _predict(self, categories: Tensor, numbers: Tensor, used: int | None) -> Floats:
        raise NotImplementedError

    def _cut(self, num: int) -> None:
        raise NotImplementedError

    def _bytes(self) -> bytes:
        raise NotImplementedError

    def _parse(self, stored: bytes) -> Any:
        raise NotImplementedError


class LightGBMTrees(Trees):
    """Trees that split categories by sorting them by their gradients."""

    settings: LightGBM

    def _table(self, categories: Tensor, numbers: Tensor) -> Floats:
        return torch.cat((categories.double(), numbers.double()), dim=1).numpy()

    def _grow(self, growth: Growth) -> list[float]:
        library = _library("lightgbm")
        objective, metric = ("regression", "l2") if self.settings.loss == "mse" else ("binary", "binary_logloss")
        parameters = {
            "objective": objective,
            "metric": metric,
            "learning_rate": growth.learning_rate,
            "num_leaves": self.settings.leaves,
            "min_data_in_leaf": self.settings.min_rows,
            "seed": growth.seed,
            "num_threads": growth.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        rows = library.Dataset(
            self._table(growth.categories, growth.numbers),
            growth.targets.numpy(),
            weight=growth.weights.numpy(),
            categorical_feature=list(range(growth.categories.shape[1])),
            params=parameters,
        )
        found: dict[str, dict[str, list[float]]] = {}
        self._model = library.train(
            parameters,
            rows,
            growth.trees,
            valid_sets=[rows],
            valid_names=["rows"],
            callbacks=[library.record_evaluation(found)],
        )
        return found["rows"][metric]

    def _predict(self, categories: Tensor, numbers: Tensor, used: int | None) -> Floats:
        scores: Floats = self._model.predict(self._table(categories, numbers), raw_score=True, num_iteration=used or -1)
        return scores

    def _cut(self, num: int) -> None:
        self._model = self._parse(self._model.model_to_string(num_iteration=num).encode())

    def _bytes(self) -> bytes:
        text: str = self._model.model_to_string()
        return text.encode()

    def _parse(self, stored: bytes) -> Any:
        return _library("lightgbm").Booster(model_str=stored.decode())


class CatBoostTrees(Trees):
    """Trees that replace categories, and combinations of them, by the mean label of earlier rows in a random order."""

    settings: CatBoost

    def _table(self, categories: Tensor, numbers: Tensor) -> Any:
        frames = importlib.import_module("pandas")
        parts = {f"c{place}": column.numpy() for place, column in enumerate(categories.unbind(1))}
        parts |= {f"n{place}": column.numpy() for place, column in enumerate(numbers.unbind(1))}
        return frames.DataFrame(parts)

    def _grow(self, growth: Growth) -> list[float]:
        library = _library("catboost")
        metric = "RMSE" if self.settings.loss == "mse" else "Logloss"
        rows = library.Pool(
            self._table(growth.categories, growth.numbers),
            growth.targets.numpy(),
            weight=growth.weights.numpy(),
            cat_features=list(range(growth.categories.shape[1])),
        )
        parameters = {
            "loss_function": metric,
            "iterations": growth.trees,
            "learning_rate": growth.learning_rate,
            "depth": self.settings.depth,
            "random_seed": growth.seed,
            "thread_count": growth.threads,
            "verbose": False,
            "allow_writing_files": False,
        }
        self._model = library.CatBoost(parameters).fit(rows)
        losses: list[float] = self._model.get_evals_result()["learn"][metric]
        return losses

    def _predict(self, categories: Tensor, numbers: Tensor, used: int | None) -> Floats:
        rows = self._table(categories, numbers)
        scores: Floats = self._model.predict(rows, prediction_type="RawFormulaVal", ntree_end=used or 0)
        return scores

    def _cut(self, num: int) -> None:
        self._model.shrink(num)

    def _bytes(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            self._model.save_model(str(path))
            return path.read_bytes()

    def _parse(self, stored: bytes) -> Any:
        model = _library("catboost").CatBoost()
        model.load_model(blob=stored)
        return model


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f'The ranker needs {name}, which is not installed. Install it with: pip install "shortlist[trees]".'
        ) from error
