"""`python -m slws_lab.training` answers a question about recipes: JSON from standard input, one JSON answer to standard output.

The lab tower asks so, in a process of its own, since it never imports torch: `{"measure": ...}` for what a model costs at inference,
any other question to check recipes.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from slws_lab.training.answering import end_with_asker, told
from slws_lab.training.check import check_asked
from slws_lab.training.inference import measure_asked

end_with_asker()
question = json.load(sys.stdin)
with redirect_stdout(sys.stderr):  # a user's model file may print
    answer = told(measure_asked, question["measure"]) if "measure" in question else check_asked(question)
json.dump(answer, sys.stdout)
