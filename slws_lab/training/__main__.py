"""`python -m slws_lab.training` checks recipes: JSON from standard input, one JSON answer to standard output.

The lab tower calls `check` so, in a process of its own, since it never imports torch.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from slws_lab.training.answering import end_with_asker
from slws_lab.training.check import check_asked

end_with_asker()
question = json.load(sys.stdin)
with redirect_stdout(sys.stderr):  # a user's model file may print
    answers = check_asked(question)
json.dump(answers, sys.stdout)
