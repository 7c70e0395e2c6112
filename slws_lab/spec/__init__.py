"""The study language: recipes, studies, their expansion and identity. Pure: no torch, no I/O but reading YAML."""

from slws_lab.spec.blocks import BLOCKS, Block
from slws_lab.spec.command import CommandRecipe, CommandRun, FieldSpec, MetricsSpec
from slws_lab.spec.design import Arm, Design, Duplicate, Role
from slws_lab.spec.expand import MAX_RUNS, check_recipe, expand
from slws_lab.spec.factors import matches, short_names
from slws_lab.spec.identity import IDENTITY_VERSION, canonical, digest, dotted, flatten, run_id
from slws_lab.spec.kinds import AnyRecipe, AnyRun, parse_recipe, parse_run
from slws_lab.spec.levels import Factor, brief, level_text
from slws_lab.spec.load import (
    Study,
    find_root,
    find_study,
    load_any_recipe,
    load_recipe,
    load_study,
    study_argument,
    study_of_recipe,
)
from slws_lab.spec.metric import Metric
from slws_lab.spec.places import where_set
from slws_lab.spec.recipe import (
    AugmentSpec,
    DataSpec,
    ModelSpec,
    Recipe,
    RunSpec,
    Schedule,
    ShuffleSpec,
    TrainSpec,
)
from slws_lab.spec.reporting import PaperTable, Report, Reproduced, ShownMetric
from slws_lab.spec.resources import Resources
from slws_lab.spec.schema import json_schema
from slws_lab.spec.search import Confirm, SearchSpec
from slws_lab.spec.stages import resolve as resolve_stages
from slws_lab.spec.stages import total_epochs
from slws_lab.spec.study import AdaptiveSeeds, Budget, Comparisons, StudySpec

__all__ = [
    "BLOCKS",
    "IDENTITY_VERSION",
    "MAX_RUNS",
    "AdaptiveSeeds",
    "AnyRecipe",
    "AnyRun",
    "Arm",
    "AugmentSpec",
    "Block",
    "Budget",
    "CommandRecipe",
    "CommandRun",
    "Comparisons",
    "Confirm",
    "DataSpec",
    "Design",
    "Duplicate",
    "Factor",
    "FieldSpec",
    "Metric",
    "MetricsSpec",
    "ModelSpec",
    "PaperTable",
    "Recipe",
    "Report",
    "Reproduced",
    "Resources",
    "Role",
    "RunSpec",
    "Schedule",
    "SearchSpec",
    "ShownMetric",
    "ShuffleSpec",
    "Study",
    "StudySpec",
    "TrainSpec",
    "brief",
    "canonical",
    "check_recipe",
    "digest",
    "dotted",
    "expand",
    "find_root",
    "find_study",
    "flatten",
    "json_schema",
    "level_text",
    "load_any_recipe",
    "load_recipe",
    "load_study",
    "matches",
    "parse_recipe",
    "parse_run",
    "resolve_stages",
    "run_id",
    "short_names",
    "study_argument",
    "study_of_recipe",
    "total_epochs",
    "where_set",
]  # fmt: skip
