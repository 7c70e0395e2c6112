"""Seeds of a block: which arms get how many, and that a study without them is as it was."""

from __future__ import annotations

from conftest import make_project
from spec.conftest import DesignOf

from slws_lab.spec import expand, load_study, run_id

LEVELS = {"train.lr": [0.1, 0.2, 0.3]}


def seeds(design) -> dict[float, tuple[int, ...]]:
    return {arm.settings["train.lr"]: design.seeds_of(arm.id) for arm in design.arms}


def test_an_arm_has_the_most_seeds_that_any_of_its_blocks_asks_for(design_of: DesignOf) -> None:
    blocks = [
        {"grid": ["train.lr"], "seeds": 2},
        {"list": [{"train.lr": 0.2}], "seeds": 3},
        {"list": [{"train.lr": 0.3}], "seeds": 1},
    ]
    for designs in (blocks, blocks[::-1]):
        found = design_of(seeds=[7, 5, 9, 4], factors=LEVELS, designs=designs)
        assert seeds(found) == {0.1: (7, 5, 9), 0.2: (7, 5, 9), 0.3: (7, 5)}
        assert found.seeds_of(*(arm.id for arm in found.arms)) == (7, 5)


def test_a_block_without_a_number_asks_for_all(design_of: DesignOf) -> None:
    blocks = [{"grid": ["train.lr"], "seeds": 2}, {"list": [{"train.lr": 0.2}]}]
    assert seeds(design_of(seeds=4, factors=LEVELS, designs=blocks)) == {
        0.1: (0, 1, 2, 3),
        0.2: (0, 1, 2, 3),
        0.3: (0, 1),
    }


def test_the_runs_are_those_that_are_asked_for_breadth_first(design_of: DesignOf) -> None:
    blocks = [{"list": [{"train.lr": 0.3}], "seeds": 1}, {"list": [{"train.lr": 0.2}]}]
    found = design_of(seeds=2, factors=LEVELS, designs=blocks)
    known = {arm.id: arm.settings["train.lr"] for arm in found.arms}
    assert [(known[arm_id], seed) for arm_id, seed in found.run_ids] == [
        (0.1, 0),
        (0.3, 0),
        (0.2, 0),
        (0.1, 1),
        (0.2, 1),
    ]
    assert [run_id(run) for run in found.runs] == list(found.run_ids.values())


def test_ids_are_the_same_with_and_without_seeds_of_a_block(design_of: DesignOf) -> None:
    whole = design_of(seeds=3, factors=LEVELS, designs=[{"grid": ["train.lr"]}])
    part = design_of(seeds=3, factors=LEVELS, designs=[{"grid": ["train.lr"], "seeds": 2}])
    assert part.run_ids.items() < whole.run_ids.items() and len(part.run_ids) == 6
    same = design_of(seeds=3, factors=LEVELS, designs=[{"grid": ["train.lr"], "seeds": 3}])
    assert same.run_ids == whole.run_ids and same.arms == whole.arms


def test_a_control_has_the_seeds_of_its_block(design_of: DesignOf) -> None:
    factors = {"shuffle.schedule": ["none", "linear"]}
    blocks = [
        {"grid": ["shuffle.schedule"], "control": "equal_mean_constant", "seeds": 2},
        {"grid": ["shuffle.schedule"]},
    ]
    found = design_of(seeds=3, factors=factors, designs=blocks)
    assert {arm.settings["shuffle.schedule"]: len(found.seeds_of(arm.id)) for arm in found.arms} == {
        "none": 3,
        "linear": 3,
        "constant": 2,
    }


def test_a_large_block_of_few_seeds_is_not_counted_with_all(tmp_path) -> None:
    body = "factors:\n  train.epochs: {range: [2, 700, 1]}\n  train.batch_size: [1, 2]\ndesigns:\n"
    body += "  - {grid: [train.epochs, train.batch_size], seeds: 1}\n  - list: [{}]\nseeds: 1000\n"
    head = "name: s\nquestion: q\nrecipe: ../experiments/tiny.yaml\n"
    assert len(expand(load_study(make_project(tmp_path, study=head + body).study)).run_ids) == 2397
