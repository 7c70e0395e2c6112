"""The study language: recipes, studies, their expansion and identity. Pure: no torch, no I/O but reading YAML."""

from slws_lab.spec.design import Arm, Design, Duplicate, Role
from slws_lab.spec.expand import MAX_RUNS, check_recipe, expand
from slws_lab.spec.factors import level_text, matches, short_names, where_set
from slws_lab.spec.identity import IDENTITY_VERSION, canonical, digest, flatten, run_id
from slws_lab.spec.load import Study, find_root, find_study, load_recipe, load_study, study_of_recipe
from slws_lab.spec.recipe import (
    AugmentSpec,
    DataSpec,
    ModelSpec,
    Recipe,
    Resources,
    RunSpec,
    Schedule,
    ShuffleSpec,
    TrainSpec,
)
from slws_lab.spec.schema import json_schema
from slws_lab.spec.stages import resolve as resolve_stages
from slws_lab.spec.stages import total_epochs
from slws_lab.spec.study import Comparisons, Metric, StudySpec

__all__ = [
    "IDENTITY_VERSION",
    "MAX_RUNS",
    "Arm",
    "AugmentSpec",
    "Comparisons",
    "DataSpec",
    "Design",
    "Duplicate",
    "Metric",
    "ModelSpec",
    "Recipe",
    "Resources",
    "Role",
    "RunSpec",
    "Schedule",
    "ShuffleSpec",
    "Study",
    "StudySpec",
    "TrainSpec",
    "canonical",
    "check_recipe",
    "digest",
    "expand",
    "find_root",
    "find_study",
    "flatten",
    "json_schema",
    "level_text",
    "load_recipe",
    "load_study",
    "matches",
    "resolve_stages",
    "run_id",
    "short_names",
    "study_of_recipe",
    "total_epochs",
    "where_set",
]  # fmt: skip
