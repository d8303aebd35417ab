"""Networks: pure functions of tensors with weights. They know no files, no ids from outside and no other stage."""

from shortlist.models.als import ALS
from shortlist.models.cross_attention import CrossAttention
from shortlist.models.deepfm import DeepFM
from shortlist.models.dlrm import DLRM
from shortlist.models.gru4rec import GRU4Rec
from shortlist.models.item_knn import ItemKNN
from shortlist.models.mf import MF
from shortlist.models.neumf import NeuMF
from shortlist.models.popularity import Popularity
from shortlist.models.sasrec import SASRec
from shortlist.models.trees import CatBoost, LightGBM
from shortlist.models.two_tower import TwoTower

__all__ = [
    "ALS", "DLRM", "MF", "AnyModel", "CatBoost", "CrossAttention", "DeepFM", "GRU4Rec", "ItemKNN", "LightGBM", "NeuMF", "Popularity", "SASRec", "TwoTower",
]  # fmt: skip

AnyModel = (
    MF
    | TwoTower
    | GRU4Rec
    | SASRec
    | NeuMF
    | DeepFM
    | DLRM
    | CrossAttention
    | LightGBM
    | CatBoost
    | Popularity
    | ItemKNN
    | ALS
)
