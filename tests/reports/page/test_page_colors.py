"""The colours of report.html: every text can be read, in light and in dark, by WCAG's measure (4.5 : 1)."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("slws_lab.reports") / "templates" / "report.css").read_text(encoding="utf-8")
PAIRS = {
    "ink": ("paper", "tint", "raised"), "soft": ("paper", "tint", "raised"), "accent": ("paper", "tint", "raised"),
    "warn-ink": ("warn-paper",),
}  # fmt: skip


def colors(scheme: str) -> dict[str, str]:
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
    return {name: dark if scheme == "dark" else light for name, light, dark in found}


def luminance(color: str) -> float:
    """Return the relative luminance of `#rrggbb`. Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    parts = ((int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in parts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: str) -> None:
    named = colors(scheme)
    for text, grounds in PAIRS.items():
        for ground in grounds:
            assert contrast(named[text], named[ground]) >= 4.5, (text, ground)
    share = float(re.search(r"var\(--accent\) (\d+)%, var\(--paper\)", CSS)[1]) / 100  # type: ignore[index]
    chosen = mixed(named["accent"], named["paper"], share)  # a cell under the pointer
    assert contrast(named["ink"], chosen) >= 4.5 and contrast(named["soft"], chosen) >= 4.5


def test_no_text_and_no_ground_has_another_color() -> None:
    texts = set(re.findall(r"[^-\w]color: ([^;]+);", CSS))
    assert texts <= {*(f"var(--{name})" for name in PAIRS), "inherit"}
    grounds = {
        ground for ground in re.findall(r"background: ([^;]+);", CSS) if not ground.startswith(("color-mix", "rgb"))
    }
    known = {ground for pair in PAIRS.values() for ground in pair}
    assert grounds <= {*(f"var(--{name})" for name in known), "none", "#fff"}
    whites = re.findall(r"([^\n{}]+) \{[^}]*background: #fff", CSS)
    assert sorted(whites) == ["#zoom .content", ".card"]  # these hold figures, which bring their own colours
