"""Published rows by key."""

from __future__ import annotations

import pytest

from slws_lab.errors import UserError
from slws_lab.reports import published


def test_rows_come_in_the_order_of_the_keys_and_once() -> None:
    assert [row.key for row in published(["swin", "slws", "swin"])] == ["swin"] * 3 + ["slws"] * 11


def test_unknown_is_blank_not_zero() -> None:
    assert published(["slws"])[0].flops_g == ""


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        published(["slvs"], "study.yaml:3:1")
    assert error.value.todo == "did you mean 'slws'?" and "vim" in error.value.allowed
    assert error.value.where == "study.yaml:3:1"
