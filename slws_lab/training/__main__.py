"""`python -m slws_lab.training` checks recipes: JSON from standard input, one JSON answer to standard output.

The lab tower calls `check` so, in a process of its own, since it never imports torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from slws_lab.spec import Recipe
from slws_lab.training.check import check

question = json.load(sys.stdin)
recipes = [Recipe.model_validate(raw) for raw in question["recipes"]]
json.dump(check(recipes, Path(question["root"]), question["scan"]), sys.stdout)
