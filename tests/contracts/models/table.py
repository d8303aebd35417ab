"""The models that must do what every model must, each with its settings; a new model gets all checks for one row."""

from __future__ import annotations

from shortlist.contracts import ModelSettings
from shortlist.models import (
    ALS,
    DLRM,
    MF,
    CatBoost,
    CrossAttention,
    DeepFM,
    GRU4Rec,
    ItemKNN,
    LightGBM,
    NeuMF,
    Popularity,
    SASRec,
    TwoTower,
)

TRAINED: dict[str, ModelSettings] = {
    "MF sampled softmax": MF(embedding_dim=16, negatives=8),
    "MF bce": MF(embedding_dim=16, loss="bce", negatives=4),
    "MF cosine": MF(embedding_dim=16, negatives=8, similarity="cosine", temperature=0.2),
    "MF cosine with item biases": MF(
        embedding_dim=16, negatives=8, similarity="cosine", temperature=0.2, item_bias=True
    ),
    "MF bpr": MF(embedding_dim=16, loss="bpr", negatives=4),
    "MF ratings": MF(embedding_dim=16, loss="mse"),
    "TwoTower": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8),
    "GRU4Rec": GRU4Rec(hidden=(16,), history=6, negatives=8),
    "GRU4Rec softmax": GRU4Rec(hidden=(12, 16), history=6, loss="softmax", embedding="separate", embedding_dim=8),
    "GRU4Rec bpr_max": GRU4Rec(hidden=(16,), history=6, negatives=8, loss="bpr_max", elu=0.5, regularization=1.0),
    "GRU4Rec top1_max": GRU4Rec(hidden=(16,), history=6, negatives=8, loss="top1_max"),
    "GRU4Rec cosine": GRU4Rec(hidden=(16,), history=6, negatives=8, similarity="cosine", temperature=0.1),
    "SASRec": SASRec(embedding_dim=16, history=6, dropout=0.0),
    "SASRec bce": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="bce", negatives=4, windows="last"),
    "SASRec gbce": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="gbce", negatives=4, num_heads=2),
    "SASRec sampled_softmax": SASRec(embedding_dim=16, history=6, dropout=0.0, loss="sampled_softmax", negatives=8),
    "SASRec pre_ln": SASRec(embedding_dim=16, history=6, dropout=0.0, block="pre_ln"),
    "SASRec ligr": SASRec(embedding_dim=16, history=6, dropout=0.0, block="ligr", similarity="cosine", temperature=0.1),
    "NeuMF": NeuMF(),
    "NeuMF gmf": NeuMF(paths="gmf", loss="softmax"),
    "NeuMF mlp": NeuMF(paths="mlp"),
    "NeuMF ratings": NeuMF(loss="mse"),
    "DeepFM": DeepFM(hidden=(16, 8), init_std=0.05),
    "DeepFM project": DeepFM(hidden=(16,), head="project", init_std=0.05),
    "DeepFM ratings": DeepFM(hidden=(16,), loss="mse", init_std=0.05),
    "DLRM": DLRM(embedding_dim=8, top=(16,)),
    "DLRM cat": DLRM(embedding_dim=8, top=(16,), interaction="cat"),
    "CrossAttention": CrossAttention(embedding_dim=16, history=6, dropout=0.0),
    "CrossAttention bce": CrossAttention(embedding_dim=16, history=6, dropout=0.0, loss="bce", negatives=4),
    "CrossAttention listwise": CrossAttention(embedding_dim=16, history=6, dropout=0.0, listwise=True, num_blocks=2),
    "CrossAttention ratings": CrossAttention(embedding_dim=16, history=6, dropout=0.0, loss="mse"),
    "DLRM softmax": DLRM(embedding_dim=8, top=(16,), itself=True, loss="softmax"),
    "TwoTower attention": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8, pooling="attention"),
    "TwoTower unordered": TwoTower(embedding_dim=16, hidden=(), history=6, negatives=8, ordered=False, item_bias=True),
    "TwoTower, all kinds of features": TwoTower(embedding_dim=16, hidden=(32,), history=6, negatives=8),
    "TwoTower unordered, all kinds of features": TwoTower(
        embedding_dim=16, hidden=(8,), history=6, negatives=8, ordered=False, item_bias=True, pooling="attention"
    ),
    "DeepFM, all kinds of features": DeepFM(hidden=(16,), init_std=0.05),
    "DLRM, all kinds of features": DLRM(embedding_dim=8, top=(16,)),
}
SOLVED: dict[str, ModelSettings] = {
    "Popularity": Popularity(),
    "recent Popularity": Popularity(recent_days=2),
    "ItemKNN": ItemKNN(neighbours=5),
    "ALS": ALS(embedding_dim=8),
}
GROWN: dict[str, ModelSettings] = {
    "LightGBM": LightGBM(trees=5, leaves=4, min_rows=1),
    "CatBoost": CatBoost(trees=5, depth=3),
    "LightGBM ratings": LightGBM(trees=5, leaves=4, min_rows=1, loss="mse"),
    "CatBoost ratings": CatBoost(trees=5, depth=3, loss="mse"),
}
ALL = TRAINED | SOLVED | GROWN
SEQUENTIAL = [name for name, settings in TRAINED.items() if isinstance(settings, GRU4Rec | SASRec)]
