"""The JSON Schema of studies names what an editor should complete: fields, designs, metrics, short forms."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from jsonschema import Draft202012Validator

from slws_lab.spec import BLOCKS, json_schema, paths
from slws_lab.spec.source import read


@cache
def schema() -> dict[str, Any]:
    return json_schema("study")


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    return schema()["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def test_set_and_factors_name_every_field_of_a_recipe() -> None:
    own = schema()["properties"]
    named = schema()["$defs"]["NamedLevel"]["properties"]
    for node in (own["set"], own["factors"], own["baseline"], own["exclude"]["items"], named["set"]):
        assert set(resolved(node)["properties"]) == set(paths.fields())


def test_set_knows_the_type_and_meaning_of_a_field_and_refuses_an_unknown_one() -> None:
    fields = resolved(schema()["properties"]["set"])
    assert fields["properties"]["train.epochs"]["type"] == "integer"
    assert "Passes" in fields["properties"]["train.epochs"]["description"]
    assert "linear" in fields["properties"]["shuffle.schedule"]["enum"]
    assert fields["additionalProperties"] is False
    assert [bool(re.search(pattern, "model.args.depth")) for pattern in fields["patternProperties"]] == [True, False]


@pytest.mark.parametrize("kind", BLOCKS)
def test_each_design_is_a_key_with_its_meaning_beside_what_every_block_takes(kind: str) -> None:
    blocks = [resolved(node) for node in schema()["properties"]["designs"]["items"]["oneOf"]]
    (block,) = [block for block in blocks if kind in block["properties"]]
    assert block["required"] == [kind]
    assert block["properties"][kind]["description"] == BLOCKS[kind].__doc__
    assert set(block["properties"]) == {kind, "name", "when", "exclude", "set", "control", "seeds"}


def test_short_forms_are_allowed() -> None:
    assert [form["type"] for form in schema()["$defs"]["Factor"]["anyOf"]] == ["array", "object"]
    assert schema()["properties"]["seeds"]["anyOf"][0]["type"] == "integer"


def test_metrics_corrections_and_controls_are_named() -> None:
    defs = schema()["$defs"]
    known, of_commands = defs["Metric"]["properties"]["name"]["anyOf"]
    assert (known["enum"], of_commands["type"]) == (["val/top1", "val/top5", "val/loss"], "string")
    assert defs["Comparisons"]["properties"]["correction"]["enum"] == ["holm", "bh"]
    assert "equal_mean_constant" in json.dumps(defs["GridBlock"]["properties"]["control"])


def test_every_key_of_the_study_language_says_what_it_means() -> None:
    defs = {
        name: schema()["$defs"][name]
        for name in ("AdaptiveSeeds", "Budget", "NamedLevel", *(cls.__name__ for cls in BLOCKS.values()))
    }
    silent = [
        f"{name}.{key}"
        for name, node in defs.items()
        for key, value in node["properties"].items()
        if "description" not in value
    ]
    assert silent == []


def test_every_reference_leads_somewhere() -> None:
    for target in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(schema()))):
        node: Any = schema()
        for part in target.split("/"):
            node = node[part]


STUDIES = sorted((REPOSITORY / "studies").glob("*.yaml"))
RECIPES = sorted((REPOSITORY / "experiments").glob("*.yaml"))


@pytest.mark.parametrize(("kind", "files"), [("study", STUDIES), ("recipe", RECIPES)])
def test_an_editor_that_follows_the_schema_marks_no_file_of_ours(kind: str, files: list[Path]) -> None:
    validator = Draft202012Validator(json_schema(kind))
    assert len(files) > 5
    assert {path.name: [e.message for e in validator.iter_errors(read(path).data)] for path in files} == {
        path.name: [] for path in files
    }


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(("seeds",), "three"), (("designs", 0), {"gird": ["a"]}), (("metric",), {"name": 2}), (("sed",), {}),
     (("set",), {"train.epoch": 3}), (("budget",), {"hours": 1})],
)  # fmt: skip
def test_an_editor_that_follows_the_schema_marks_a_mistake(place: tuple[str | int, ...], wrong: Any) -> None:
    data = read(REPOSITORY / "studies" / "quickstart.yaml").data
    node = data
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = wrong
    assert list(Draft202012Validator(json_schema("study")).iter_errors(data))
