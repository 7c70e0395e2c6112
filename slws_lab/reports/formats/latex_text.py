"""Text as LaTeX: the one place where it is escaped."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from slws_lab.reports.formats.text import KEPT, one_line

LONG = 24  # characters of a word from which on it may be broken
PIECE = 12  # characters of a long word after which it may be broken where no sign invites it

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", '"': "''", "“": "``", "”": "''", "‘": "`", "’": "'", "–": "--", "—": "---",
    "…": r"\ldots{}", "−": r"$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "•": r"$\bullet$", "°": r"$^\circ$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "≠": r"$\neq$", "∞": r"$\infty$", "√": r"$\surd$", "∈": r"$\in$",
    "²": r"$^2$", "³": r"$^3$", "→": r"$\to$", "←": r"$\gets$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "↔": r"$\leftrightarrow$",
    "✓": r"$\checkmark$", "✗": r"$\times$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}", "¶": r"\P{}",
    "Δ": r"$\Delta$", "Σ": r"$\Sigma$", "Φ": r"$\Phi$", "Ω": r"$\Omega$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
    "δ": r"$\delta$", "ε": r"$\varepsilon$", "η": r"$\eta$", "θ": r"$\theta$", "λ": r"$\lambda$", "µ": r"$\mu$", "μ": r"$\mu$",
    "π": r"$\pi$", "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$", "φ": r"$\varphi$", "χ": r"$\chi$", "ω": r"$\omega$",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "ł": r"\l{}", "Ł": r"\L{}",
}  # fmt: skip


@lru_cache(KEPT)
def latex(text: str) -> str:
    """Escape text for LaTeX; a character that a stock pdflatex has no glyph for becomes its code."""
    pairs = map("".join, pairwise(" " + one_line(text)))
    return "".join("{}-" if pair == "--" else _character(pair[1]) for pair in pairs)  # joined, hyphens would be a dash


def breakable(text: str) -> str:
    """Escape text for a paragraph, in which words that are long may be broken: those of paths, addresses, digests."""
    return " ".join(_word(word) for word in one_line(text).split())


def _word(word: str) -> str:
    if len(word) < LONG:
        return latex(word)
    pieces = [piece for part in re.findall(r".*?[/_.,;:=@+-]+|.+", word) for piece in _cut(part)]
    return r"\allowbreak{}".join(map(latex, pieces))


def _cut(part: str) -> list[str]:
    return [part[i : i + PIECE] for i in range(0, len(part), PIECE)]


def _character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character if character.isprintable() else " "
    letter, *marks = tuple(unicodedata.normalize("NFD", character))
    if letter.isascii() and marks and ord(character) < 256:
        return character  # an accented Latin letter, which LaTeX composes itself
    return letter if letter.isascii() and marks else f"{{[}}U+{ord(character):04X}{{]}}"
