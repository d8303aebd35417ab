"""Deep recommenders, from raw events to a ranked shortlist.

The public names are loaded when they are first used, so that ``import shortlist`` alone imports neither torch nor
polars. :data:`HOME` says where each name lives; the imports below it tell type checkers and editors the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

HOME = {
    "ALS": "shortlist.models.als",
    "Annoy": "shortlist.index",
    "BundleError": "shortlist.errors",
    "CrossAttention": "shortlist.models.cross_attention",
    "DLRM": "shortlist.models.dlrm",
    "DataError": "shortlist.errors",
    "Dataset": "shortlist.data",
    "CatBoost": "shortlist.models.trees",
    "DeepFM": "shortlist.models.deepfm",
    "LightGBM": "shortlist.models.trees",
    "Exact": "shortlist.index",
    "Feature": "shortlist.schema",
    "GRU4Rec": "shortlist.models.gru4rec",
    "HNSW": "shortlist.index",
    "IVFPQ": "shortlist.index",
    "ItemKNN": "shortlist.models.item_knn",
    "MF": "shortlist.models.mf",
    "MissingExtraError": "shortlist.errors",
    "Model": "shortlist.model",
    "NeuMF": "shortlist.models.neumf",
    "Popularity": "shortlist.models.popularity",
    "Recommender": "shortlist.recommender",
    "Report": "shortlist.evaluation",
    "RequestError": "shortlist.errors",
    "SASRec": "shortlist.models.sasrec",
    "ScaNN": "shortlist.index",
    "Schema": "shortlist.schema",
    "SchemaError": "shortlist.errors",
    "SearchError": "shortlist.errors",
    "SettingsError": "shortlist.errors",
    "ShortlistError": "shortlist.errors",
    "ShortlistWarning": "shortlist.errors",
    "Training": "shortlist.training",
    "TrainingError": "shortlist.errors",
    "TwoTower": "shortlist.models.two_tower",
    "Vocabulary": "shortlist.vocabulary",
    "compare": "shortlist.comparing",
    "embed_column": "shortlist.data",
    "evaluate": "shortlist.workflow",
    "fit": "shortlist.fitting",
    "fit_partial": "shortlist.renewing",
    "load": "shortlist.workflow",
    "read_dataset": "shortlist.data",
    "split_by_time": "shortlist.data",
    "split_last_out": "shortlist.data",
    "split_random": "shortlist.data",
    "split_sessions": "shortlist.data",
    "train": "shortlist.workflow",
}

if TYPE_CHECKING:
    from shortlist.comparing import compare as compare
    from shortlist.data import Dataset as Dataset
    from shortlist.data import embed_column as embed_column
    from shortlist.data import read_dataset as read_dataset
    from shortlist.data import split_by_time as split_by_time
    from shortlist.data import split_last_out as split_last_out
    from shortlist.data import split_random as split_random
    from shortlist.data import split_sessions as split_sessions
    from shortlist.errors import BundleError as BundleError
    from shortlist.errors import DataError as DataError
    from shortlist.errors import MissingExtraError as MissingExtraError
    from shortlist.errors import RequestError as RequestError
    from shortlist.errors import SchemaError as SchemaError
    from shortlist.errors import SearchError as SearchError
    from shortlist.errors import SettingsError as SettingsError
    from shortlist.errors import ShortlistError as ShortlistError
    from shortlist.errors import ShortlistWarning as ShortlistWarning
    from shortlist.errors import TrainingError as TrainingError
    from shortlist.evaluation import Report as Report
    from shortlist.fitting import fit as fit
    from shortlist.index import HNSW as HNSW
    from shortlist.index import IVFPQ as IVFPQ
    from shortlist.index import Annoy as Annoy
    from shortlist.index import Exact as Exact
    from shortlist.index import ScaNN as ScaNN
    from shortlist.model import Model as Model
    from shortlist.models.als import ALS as ALS
    from shortlist.models.cross_attention import CrossAttention as CrossAttention
    from shortlist.models.deepfm import DeepFM as DeepFM
    from shortlist.models.dlrm import DLRM as DLRM
    from shortlist.models.gru4rec import GRU4Rec as GRU4Rec
    from shortlist.models.item_knn import ItemKNN as ItemKNN
    from shortlist.models.mf import MF as MF
    from shortlist.models.neumf import NeuMF as NeuMF
    from shortlist.models.popularity import Popularity as Popularity
    from shortlist.models.sasrec import SASRec as SASRec
    from shortlist.models.trees import CatBoost as CatBoost
    from shortlist.models.trees import LightGBM as LightGBM
    from shortlist.models.two_tower import TwoTower as TwoTower
    from shortlist.recommender import Recommender as Recommender
    from shortlist.renewing import fit_partial as fit_partial
    from shortlist.schema import Feature as Feature
    from shortlist.schema import Schema as Schema
    from shortlist.training import Training as Training
    from shortlist.vocabulary import Vocabulary as Vocabulary
    from shortlist.workflow import evaluate as evaluate
    from shortlist.workflow import load as load
    from shortlist.workflow import train as train
else:
    # Not for type checkers: with it they would take every mistyped name for one that is loaded later.
    def __getattr__(name: str) -> object:
        if name not in HOME:
            raise AttributeError(f"module 'shortlist' has no attribute {name!r}. Public names: {', '.join(HOME)}.")
        from importlib import import_module

        value = getattr(import_module(HOME[name]), name)
        globals()[name] = value  # the next use finds it at once
        return value

    __all__ = sorted(HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOME})
