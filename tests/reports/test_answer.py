"""The answer in words."""

from __future__ import annotations

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


def test_no_run_and_one_arm(project) -> None:
    nothing = answer(project(lambda i, seed: "failed", TWO).table)
    assert nothing == "No run has finished, so there is no answer yet. 0 of 8 runs finished."
    one = answer(project(body="designs: [{list: [{}]}]\nseeds: 1", name="one").table)
    assert one.startswith("One arm, nothing to compare: val/top1 (%) is ") and one.endswith("over 1 run.")
