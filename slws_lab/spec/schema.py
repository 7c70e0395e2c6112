"""JSON Schema of studies and recipes, so that an editor completes names and marks typos."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from slws_lab.spec import paths
from slws_lab.spec.blocks import BLOCKS
from slws_lab.spec.kinds import RECIPES
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.study import StudySpec

KINDS: dict[str, TypeAdapter[Any]] = {"study": TypeAdapter(StudySpec), "recipe": RECIPES}
ARGUMENT = r"^model\.args\..+$"
OF_COMMAND = r"^(?!(model|data|shuffle|train)\.)"  # a command's recipe declares fields of its own, which only it knows
FACTOR = "#/$defs/Factor"

Json = dict[str, Any]


def json_schema(kind: str) -> Json:
    """Return the JSON Schema of `study` or `recipe` files."""
    schema = KINDS[kind].json_schema(mode="validation")
    if kind == "study":
        _name_fields(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"slws {kind} file", **schema}


def _name_fields(schema: Json) -> None:
    """Let keys that are fields of a recipe be completed, and short forms be given, which the types alone do not say.

    Keys that may be factors stay open: a factor over sub-trees has a name of the user's.
    """
    fields, own, defs = _fields(), schema["properties"], schema["$defs"]
    each = {name: {"$ref": f"#/$defs/Fields/properties/{name}"} for name in fields}
    factor, named = defs["Factor"], {"anyOf": [{"enum": list(fields)}, {"type": "string"}]}
    array = next(part for part in factor["properties"]["levels"]["anyOf"] if part.get("type") == "array")
    short = {**array, "description": "The levels; the first is the baseline's."}
    defs |= {
        "Fields": _object(fields)
        | {"patternProperties": {ARGUMENT: {}, OF_COMMAND: {}}, "additionalProperties": False},
        "Settings": _object(each),
        "Pattern": _object({name: {} for name in fields}),
        "Factors": _object({name: {"$ref": FACTOR} for name in fields}, {"$ref": FACTOR}),
        "FactorNames": {"type": "array", "minItems": 1, "items": named},
        "Factor": {"anyOf": [short, factor]},
    }
    _refer(own, {"set": "Fields", "factors": "Factors", "baseline": "Settings"})
    own["exclude"]["items"] = {"$ref": "#/$defs/Pattern"}
    own["seeds"]["anyOf"] = [{"type": "integer", "minimum": 1, "maximum": 1_000_000}, *own["seeds"].pop("oneOf")]
    own["seeds"].pop("discriminator", None)
    _refer(defs["NamedLevel"]["properties"], {"set": "Fields"})
    _name_search(defs, fields, array)
    _refer(factor["properties"], {"when": "Pattern"})
    linked = next(part for part in factor["properties"]["linked"]["anyOf"] if part.get("type") == "object")
    linked["propertyNames"] = {"anyOf": [{"enum": list(fields)}, {"pattern": ARGUMENT}]}
    for kind, cls in BLOCKS.items():
        block = defs[cls.__name__]["properties"]
        _refer(block, {"set": "Settings", "when": "Pattern"})
        block["exclude"]["items"] = {"$ref": "#/$defs/Pattern"}
        block[kind]["description"] = cls.__doc__
        if kind == "list":
            block[kind]["items"] = {"$ref": "#/$defs/Settings"}
        elif kind != "zip":
            _refer(block, {kind: "FactorNames"})


def _name_search(defs: Json, fields: Json, array: Json) -> None:
    """Do the same for a search: its space, and samplers, pruners and objectives given by their names alone."""
    dimension, space = {"$ref": "#/$defs/Dimension"}, defs["SearchSpec"]["properties"]
    _refer(defs["Dimension"]["properties"], {"when": "Pattern"})
    defs["Dimension"] = {"anyOf": [{**array, "description": "The levels."}, defs["Dimension"]]}
    space["space"] |= _object(dict.fromkeys(fields, dimension), dimension)
    space["enqueue"]["items"] = {"anyOf": [{"const": "baseline"}, {"$ref": "#/$defs/Settings"}]}
    for name in ("SearchSpec", "Patient"):
        for part in defs[name]["properties"].values():
            for node in (part, part.get("items", {}), *part.get("anyOf", ())):
                _allow_names(node, defs)


def _allow_names(node: Json, defs: Json) -> None:
    """Let a choice that is told by `name` be given by the name alone, where that is all it needs."""
    tags = node.pop("discriminator", None)
    if tags is not None:
        needed = {tag: defs[ref.rsplit("/", 1)[1]].get("required", []) for tag, ref in tags["mapping"].items()}
        short = [tag for tag, names in needed.items() if set(names) <= {"name"}]
        node["anyOf"] = [{"enum": short}, {"oneOf": node.pop("oneOf")}]


def _object(properties: Json, others: Json | None = None) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": others or {}}


def _refer(properties: Json, names: dict[str, str]) -> None:
    """Replace the types of properties by definitions; their descriptions stay."""
    for name, target in names.items():
        said = properties[name].get("description", "")
        properties[name] = {"description": said, "$ref": f"#/$defs/{target}"}


def _fields() -> Json:
    """Return the schema of each field of a recipe, by its dotted name."""
    schema = Recipe.model_json_schema(mode="validation")
    found: Json = {}
    for name in paths.fields():
        node = schema
        for part in name.split("."):
            node = node["properties"][part]
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        found[name] = node
    return found
