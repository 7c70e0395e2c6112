"""`python -m slws_lab.models` prints this package's models with their sizes, as JSON, for `slws models`."""

from __future__ import annotations

import json
import sys

import timm
import torch

from slws_lab.models import NAMES

rows = []
with torch.device("meta"):
    for name in NAMES:
        model = timm.create_model(name)
        params = sum(parameter.numel() for parameter in model.parameters())
        rows.append(
            {"name": name, "params": params, "width": model.embed_dim, "depth": model.depth, "tokens": model.num_tokens}
        )
json.dump(rows, sys.stdout)
