"""A network and its batches to a trained network and the log of how it went."""

from shortlist.training.logs import EpochRecord, TrainingLog
from shortlist.training.loop import train
from shortlist.training.settings import Training

__all__ = ["EpochRecord", "Training", "TrainingLog", "train"]
