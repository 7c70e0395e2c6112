"""The answer in words."""

from __future__ import annotations

from dataclasses import replace

from slws_lab.reports import answer

TWO = "factors: {train.lr: [1e-3, 2e-3]}\ndesigns: [{one_at_a_time: [train.lr]}]\nseeds: 4"


def test_it_counts_and_names_what_was_found(project) -> None:
    said = answer(project(body=TWO).table)
    assert said.startswith("Of 1 arm compared with the baseline (lr=0.001), 1 helps (lr=0.002 by +")
    assert said.endswith(" points).")


def test_a_long_list_is_cut_at_the_largest(project) -> None:
    said = answer(project().table)
    assert "4 help (schedule=constant, max_rate=0.1 by +" in said and "; and 1 more)." in said


def test_it_says_what_it_rests_on(project) -> None:
    said = answer(project(lambda i, seed: "finished" if seed < 2 else None, TWO).table)
    assert said == (
        "Of 1 arm compared with the baseline (lr=0.001), 1 has too few pairs for a verdict. 4 of 8 runs finished."
    )


def test_an_undeclared_difference_is_marked_with_the_arm_and_counted(project) -> None:
    table = project(body=TWO).table
    run_id = table.design.run_ids[table.design.arms[1].id, 2]
    changed = replace(table.records[run_id], result={**table.records[run_id].result, "device": "NVIDIA A100"})
    said = answer(replace(table, records={**table.records, run_id: changed}))
    assert " points, undeclared: device)." in said
    assert said.endswith(
        "In 1 of 1 comparison the runs also differ in what the study does not declare (device), which may explain the difference."
    )
    assert "declare" not in answer(table)


def test_an_arm_with_two_references_is_named_with_each(project) -> None:
    body = "factors: {train.lr: [1e-3, 2e-3], shuffle.schedule: [none, linear]}\nseeds: 4\ndesigns:\n"
    blocks = "  - grid: [shuffle.schedule]\n    control: equal_mean_constant\n"
    said = answer(project(body=body + blocks).table)
    assert said.startswith("Of 3 comparisons of 2 arms with their references, 2 help (")
    assert "; schedule=linear against baseline by +" in said
    assert "1 hurts (schedule=linear against schedule=constant, max_rate=0.25 by −" in said


def test_no_run_and_one_arm(project) -> None:
    nothing = answer(project(lambda i, seed: "failed", TWO).table)
    assert nothing == "No run has finished, so there is no answer yet. 0 of 8 runs finished."
    one = answer(project(body="designs: [{list: [{}]}]\nseeds: 1", name="one").table)
    assert one.startswith("One arm, nothing to compare: val/top1 (%) is ") and one.endswith("over 1 run.")
