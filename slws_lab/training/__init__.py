"""Training: builds objects from a `RunSpec` and trains them. One of the two places where the towers meet; the other is `worker`."""

from slws_lab.training.check import check, check_asked
from slws_lab.training.ranks import RankError, RankLost, train
from slws_lab.training.surroundings import Interrupted, Outdated, Surroundings, TrainResult

__all__ = [
    "Interrupted", "Outdated", "RankError", "RankLost", "Surroundings", "TrainResult", "check", "check_asked", "train",
]  # fmt: skip
