"""Files and frames to encoded data sets, their splits, and batches to train on."""

from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders, FeatureEncoder
from shortlist.data.infer import infer_schema
from shortlist.data.load import read_dataset
from shortlist.data.read import Table, read_table

__all__ = ["Dataset", "Encoders", "FeatureEncoder", "Table", "infer_schema", "read_dataset", "read_table"]
