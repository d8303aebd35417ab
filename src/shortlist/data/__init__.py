"""Files and frames to encoded data sets, their splits, and batches to train on."""

from shortlist.data.dataset import Dataset
from shortlist.data.embed import embed_column
from shortlist.data.encode import Encoders, FeatureEncoder
from shortlist.data.infer import infer_schema
from shortlist.data.later import read_later
from shortlist.data.load import read_dataset
from shortlist.data.movielens import read_movielens
from shortlist.data.read import Table, read_table
from shortlist.data.sessions import split_sessions
from shortlist.data.split import hold_back, hold_last, split_by_time, split_last_out, split_random

__all__ = [
    "Dataset",
    "Encoders",
    "FeatureEncoder",
    "Table",
    "embed_column",
    "hold_back",
    "hold_last",
    "infer_schema",
    "read_dataset",
    "read_later",
    "read_movielens",
    "read_table",
    "split_by_time",
    "split_last_out",
    "split_random",
    "split_sessions",
]
