"""Analysis: from records to estimates, contrasts and verdicts. No drawing: `reports` shows it."""

from slws_lab.analysis.best import Best, best
from slws_lab.analysis.contrasts import VERDICTS, Contrast, contrasts
from slws_lab.analysis.estimates import Estimate, estimates
from slws_lab.analysis.results import ResultTable, varied

__all__ = ["VERDICTS", "Best", "Contrast", "Estimate", "ResultTable", "best", "contrasts", "estimates", "varied"]
