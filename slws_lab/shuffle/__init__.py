"""Stochastic Layer-Wise Shuffle for any stack of token blocks; knows no model and no data set."""

from slws_lab.shuffle.layerwise import LayerShuffle, attach
from slws_lab.shuffle.schedules import SCHEDULES, mean_rate, rates

__all__ = ["SCHEDULES", "LayerShuffle", "attach", "mean_rate", "rates"]
