"""Training: builds objects from a `RunSpec` and trains them. One of the two places where the towers meet; the other is `worker`."""

from slws_lab.training.check import check
from slws_lab.training.train import Interrupted, Surroundings, TrainResult, train

__all__ = ["Interrupted", "Surroundings", "TrainResult", "check", "train"]
