"""Malformed studies and recipes are refused in one message or read correctly; `benchmarks/fuzz.py` tries more of them."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, make_project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slws_lab.errors import UserError
from slws_lab.spec import load_recipe, load_study
from slws_lab.spec.source import MAX_BYTES, MAX_NODES, read

# Cases that other exceptions than UserError, or no end, came out of when they were first tried.
FOUND = {
    "a merge of itself": b"a: &a {<<: *a}\n",
    "a list of itself": b"a: &a [*a, *a]\n",
    "a key that is a list": b"a: &a [1]\n? *a\n: 2\n",
    "a key that is a mapping of lists": b"{{a: [1]}: 2}\n",
    "a time that is none": b"a: !!timestamp x\n",
    "a whole number of 400 digits": b"kind: train\nmodel: {name: m}\ndata: {name: digits}\ntrain: {epochs: 1, batch_size: 1" + b"0" * 400 + b", lr_batch: 3}\n",
    "lists within lists": b"a: " + b"[" * 100_000,
}  # fmt: skip


sys.path.append(str(REPOSITORY / "benchmarks"))  # it is in no package
fuzz = importlib.import_module("fuzz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz.prepare(tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    reader=st.sampled_from(["study", "recipe"]),
    kind=st.sampled_from(sorted(fuzz.YAML_KINDS)),
    key=st.integers(0, 10**9),
)
def test_a_mutated_file_is_refused_in_one_message_or_read(reader: str, kind: str, key: int, folder: Path) -> None:
    draw = random.Random(key)
    case = fuzz.case(reader, kind, draw.choice(sorted(fuzz.originals_of(reader))), draw)
    assert fuzz.try_it(case, folder) in (fuzz.REFUSED, fuzz.LOADED)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_refused_in_one_message_or_read(content: bytes, folder: Path) -> None:
    assert fuzz.try_it(fuzz.Case("recipe", "any", "none", content), folder) == fuzz.REFUSED


@pytest.mark.parametrize("content", FOUND.values(), ids=FOUND.keys())
def test_what_was_found_is_refused(content: bytes, folder: Path) -> None:
    assert fuzz.try_it(fuzz.Case("recipe", "found", "none", content), folder) == fuzz.REFUSED


@pytest.mark.parametrize("kind", ["study", "recipe"])
def test_the_files_themselves_are_read(kind: str, folder: Path) -> None:
    for name, content in fuzz.originals_of(kind).items():
        assert fuzz.try_it(fuzz.Case(kind, "none", name, content), folder) == fuzz.LOADED


@pytest.mark.parametrize("item", ["[{}]", "{{x: 1, <<: [{}]}}"])
def test_a_billion_laughs_are_refused_before_they_are_built(item: str, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} " + item.format(", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 30)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"more than {MAX_NODES:,} values, aliases written out"):
        read(path)


def test_aliases_and_merges_that_mean_little_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sound.yaml"
    path.write_text("a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2}\n")
    assert read(path).data == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}], "c": {"y": 2, "x": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# " + "x" * MAX_BYTES, "larger than"),
        ("a: [" + "1," * (MAX_NODES + 1) + "]", "more than 20,000 values"),
        ("a: " + "{a: " * 21 + "1" + "}" * 21, "nested more than 20 deep"),
        ("a: !!python/object/apply:os.system [touch planted]", "python/object/apply:os.system is not allowed"),
        ("a: 1\na: 2", "found duplicate key"),
    ],
)
def test_what_no_recipe_holds_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        load_recipe(path)
    assert str(path) in refused.value.where and len(str(refused.value)) < 1000


def test_a_depth_that_no_model_has_ends_no_study_in_a_loop(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    recipe = (
        project.recipe.read_text()
        .replace("depth: 2", "depth: 9223372036854775807")
        .replace("schedule: linear", "schedule: step")
    )
    project.recipe.write_text(recipe)
    project.study.write_text(project.study.read_text().replace("[none, linear]", "[none, step]").replace(
        "- grid: [shuffle.schedule]", "- {grid: [shuffle.schedule], control: equal_mean_constant}"))  # fmt: skip
    with pytest.raises(UserError, match="which no model has"):
        fuzz.expand(load_study(project.study))
