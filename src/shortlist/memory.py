"""A model and its data to the memory that training takes, said before it is taken."""

from __future__ import annotations

import warnings

import torch

from shortlist.contracts import Catalogue, ModelSettings
from shortlist.data.dataset import Dataset
from shortlist.errors import ShortlistWarning, TrainingError
from shortlist.machine import available_bytes
from shortlist.training import Training

WORTH_SAYING = 2**30  # bytes
# Copies of the weights that an optimiser keeps; of row-wise Adagrad a number for each row.
KEPT = {"adam": 2, "adagrad": 1, "rowwise_adagrad": 0, "sgd": 0}


def training_bytes(settings: ModelSettings, catalogue: Catalogue, training: Training, *, is_validated: bool) -> int:
    """Bytes of the weights, their gradients, the optimiser's copies, and with a validation the best weights so far.

    The network is built without memory to count them. What a batch takes comes on top.
    """
    with torch.device("meta"):
        network = settings.build(catalogue)
    kept = KEPT[training.optimizer] + (training.momentum > 0 and training.optimizer in ("adagrad", "sgd"))
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    has_gradient = not getattr(settings, "sparse", False)  # sparse ones are as small as a batch
    return weights * (1 + has_gradient + kept + is_validated)


def check_memory(
    settings: ModelSettings, catalogue: Catalogue, training: Training, dataset: Dataset, *, is_validated: bool
) -> None:
    """Say what training on the CPU will take where it is much, and refuse what this machine does not have."""
    if training.device != "cpu":
        return
    needed, free = training_bytes(settings, catalogue, training, is_validated=is_validated), available_bytes()
    if needed < WORTH_SAYING:
        return
    what = f"To train {type(settings).__name__} on this data takes about {needed / 1e9:.1f} GB for its weights"
    advice = (
        f"Most of it are tables; {_widest(dataset)}. Treat rare values as one (min_count of a feature), hash them (buckets), "
        'make embedding_dim smaller, or use sparse gradients with training.optimizer = "rowwise_adagrad"'
    )
    if free is not None and needed > free:
        raise TrainingError(f"{what}, and {free / 1e9:.1f} GB of memory are free. {advice}.")
    warnings.warn(f"{what}. {advice}.", ShortlistWarning, stacklevel=4)


def _widest(dataset: Dataset) -> str:
    """The column with the most values."""
    encoders = dataset.encoders
    sizes = {"the users": dataset.num_users, "the items": dataset.num_items}
    for encoder in (encoders.user_features, encoders.item_features, encoders.context):
        if encoder is not None:
            names = [f"{feature.name!r}" for feature in encoder.fields()]
            sizes |= dict(zip(names, (known.size for known in encoder.categories), strict=True))
    name = max(sizes, key=lambda each: sizes[each])
    return f"{name} alone has {sizes[name]:,} values" if name.startswith("'") else f"{name} alone are {sizes[name]:,}"
