"""Analysis: from records to estimates, contrasts and verdicts. No drawing: `reports` shows it."""

from slws_lab.analysis.best import Best, best
from slws_lab.analysis.comparable import Undeclared, refuse_undeclared, undeclared
from slws_lab.analysis.confounding import confounded
from slws_lab.analysis.contrast import VERDICTS, Contrast, Look
from slws_lab.analysis.contrasts import contrasts
from slws_lab.analysis.dose import BestDose, DoseResponse, dose_response
from slws_lab.analysis.effects import Effect, effects
from slws_lab.analysis.estimates import Estimate, estimates
from slws_lab.analysis.power import (
    Prospects,
    delta_spread,
    equivalence_power,
    prospects,
    seeds_for_margin,
    smallest_effect,
)
from slws_lab.analysis.results import ResultTable, varied
from slws_lab.analysis.sequential import Standing, allotment, standing
from slws_lab.analysis.shapley import shapley
from slws_lab.analysis.statistics import CORRECTIONS

__all__ = [
    "CORRECTIONS", "VERDICTS", "Best", "BestDose", "Contrast", "DoseResponse", "Effect", "Estimate", "Look", "Prospects",
    "ResultTable", "Standing", "Undeclared", "allotment", "best", "confounded", "contrasts", "delta_spread",
    "dose_response", "effects", "equivalence_power", "estimates", "prospects", "refuse_undeclared", "seeds_for_margin",
    "shapley", "smallest_effect", "standing", "undeclared", "varied",
]  # fmt: skip
