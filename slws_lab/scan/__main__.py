"""`python -m slws_lab.scan` prints which scan back-ends work here and why, as JSON, for `slws doctor`."""

from __future__ import annotations

import json
import sys

from slws_lab import scan

json.dump(scan.describe(), sys.stdout)
