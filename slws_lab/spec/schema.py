"""JSON Schema of studies and recipes, so that an editor completes names and marks typos."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from slws_lab.spec.recipe import Recipe
from slws_lab.spec.study import StudySpec

KINDS: dict[str, type[BaseModel]] = {"study": StudySpec, "recipe": Recipe}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of `study` or `recipe` files."""
    schema = KINDS[kind].model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"slws {kind} file", **schema}
