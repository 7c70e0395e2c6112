"""Stochastic Layer-Wise Shuffle for any stack of token blocks; knows no model and no data set."""

from slws_lab.shuffle.layerwise import LayerShuffle, attach
from slws_lab.shuffle.over_time import OVER_TIME, factor
from slws_lab.shuffle.pattern import PERMUTATIONS
from slws_lab.shuffle.schedules import SCHEDULES, mean_rate, rates

__all__ = ["OVER_TIME", "PERMUTATIONS", "SCHEDULES", "LayerShuffle", "attach", "factor", "mean_rate", "rates"]
