"""How wide text comes out in LaTeX, so that a table can be laid out to fit the page without compiling it."""

from __future__ import annotations

from functools import lru_cache

from slws_lab.reports.formats.text import KEPT

# Widths in em of TeX's Computer Modern, a wide font of papers: Times is narrower. Source: the font's metrics, rounded up.
WIDTHS = {
    "ijl.,:;'|!I": 0.28, "frst()[]- c": 0.4, "0123456789": 0.5, "aezkvxy": 0.53, "ABCDEFKLPRTUVXYZ": 0.76, "+−±×=<>≤≥→←Δ…—✓~": 0.8,
    "mwMWGHNOQ%&@": 0.85,
}  # fmt: skip
EMS = {character: width for characters, width in WIDTHS.items() for character in characters}
USUAL = 0.56
BOLD = 1.15  # times as wide
SIZES = {"small": 9.25, "footnotesize": 8.5, "scriptsize": 7.95}  # points of an em, in a paper of 10 points
GAPS = {"small": 3.5, "footnotesize": 3.5, "scriptsize": 2.5}  # points on either side of a column
# Points: a column of two in the standard article; the page of the standard article; the narrowest of common styles, 5.5 inches.
COLUMN, DRAFT, PAGE = 200.0, 345.0, 397.0


@lru_cache(KEPT)
def ems(text: str, *, bold: bool = False) -> float:
    """Return about how many em a text is wide, rather more than less."""
    return sum(EMS.get(character, USUAL) for character in text) * (BOLD if bold else 1)
