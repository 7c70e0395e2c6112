"""Whether the statistics keep their promises, over simulated studies: family-wise error, coverage, power, and seeds as needed.

OMP_NUM_THREADS=1 python benchmarks/statistics [--studies 20000] [--out benchmarks/results/NAME.md]

A study has a baseline and further arms, a run for each arm and seed, and the effect of a seed is shared by its arms. The tests are
computed for all studies at once; that this form equals the analysis' own functions is checked first. Beside it, what is done
otherwise: unpaired tests, the best mean in bold, BCa bootstrap, looks without a rule. Exits 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import stats
from simulated import (
    ALPHA,
    ARMS,
    EFFECT,
    EXACT,
    FIRST,
    LAST,
    NOISE,
    SEEDS,
    Array,
    adaptive,
    corrected,
    deltas,
    equivalence_t_p,
    t_p,
)  # fmt: skip

from slws_lab.analysis import power
from slws_lab.analysis.contrast import Look, Tested
from slws_lab.analysis.families import Hypothesis
from slws_lab.analysis.sequential import Course, look_at
from slws_lab.analysis.statistics import Paired, adjust, equivalence_p, paired

PROMISED = (
    "Promised, wherever the noise is normal:\nan error of at most 5 % within two of these, and a coverage within a point of 95 % "
    "(with seeds as needed: of at least 94 %)."
)
GIVEN = (
    "Error: studies with at least one wrong *helps* or *hurts*, Holm, alpha 5 %; where no arm has an effect (none), and where every\n"
    "second one has one of 3 sd (some). False share: the mean share of wrong ones among all found, Benjamini-Hochberg, same arms.\n"
    "Coverage: of the single 95 % intervals, over arms with and without an effect."
)
AS_NEEDED = (
    "Errors and coverage in %, as above; coverage is that of the intervals at each contrast's own last look. Lost: each pair is\n"
    "missing with a chance of 10 %, at random. Margin error: studies that call an arm equivalent whose true difference is just the\n"
    "margin (1 sd of the deltas of normal noise). Seeds: mean number spent on a contrast without, and with, an effect of 3 sd."
)
POWER = (
    "The smallest effect (in sd of the deltas) that a plan names for 80 % at alpha over the number of contrasts, and how often\n"
    "simulated studies find it at that level, %. Then the seeds that a plan names for a margin, and how often they show equivalence."
)
OTHERWISE = (
    "Where no arm has an effect, normal noise, and what the arms of a seed share varies twice as much as a run: *bold* takes an arm for\n"
    "better than the baseline because its mean is the best; *single* tests (paired t, Welch) are not corrected; *ours* is paired t\n"
    "with Holm. Found: how often an effect of 2 sd of a run in one arm is found."
)


@dataclass
class Findings:
    """What was found so far: the report's lines, and the promises that were broken."""

    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        self.lines += lines

    def promise(self, kept: bool, what: str) -> str:
        """Note a promise; returns the mark that the table shows beside it."""
        if not kept:
            self.broken.append(what)
        return "" if kept else " **broken**"

    def rate(self, found: float, studies: int, what: str, most: float = ALPHA) -> str:
        """Print a rate of errors that must not exceed `most` by more than two standard errors."""
        return percent(found) + self.promise(
            found <= most + 2 * np.sqrt(most * (1 - most) / studies), f"{what}: {percent(found)}"
        )

    def cover(self, found: float, what: str) -> str:
        """Print a coverage that must be within a point of 95 %."""
        return percent(found) + self.promise(abs(found - 0.95) <= 0.01, f"{what}: {percent(found)}")


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}" if rate >= 0.1 else f"{100 * rate:.2f}"


def same_as_the_analysis(found: Findings) -> None:
    """Check the vectorised tests against the analysis' functions, on a few studies of each size."""
    rng = np.random.default_rng(1)
    wrong = 0
    for n in SEEDS:
        d, values = deltas(rng, "normal", (20, n, 6), 0.8)
        p, p_equal = t_p(d), equivalence_t_p(d, 1.0)
        for i in range(len(d)):
            pairs = [(values[i, :, arm], values[i, :, 0]) for arm in range(1, 6)]
            wrong += not np.allclose([paired(*pair, ALPHA).p for pair in pairs], p[i], rtol=1e-6)
            wrong += not np.allclose([equivalence_p(*pair, 1.0) for pair in pairs], p_equal[i], rtol=1e-6, atol=1e-12)
            wrong += any(
                not np.allclose(adjust(list(p[i]), how), corrected(p[i], how), rtol=1e-9) for how in ("holm", "bh")
            )
    wrong += _adaptive_differs(rng)
    found.promise(not wrong, f"the vectorised tests equal the analysis' functions: {wrong} studies differ")
    found.say(
        "",
        f"The vectorised tests equal the analysis' functions on {20 * len(SEEDS)} studies, the adaptive rule on 25.",
    )


def _adaptive_differs(rng: np.random.Generator) -> int:
    """Count the contrasts of which the vectorised adaptive rule and the analysis' own say something else."""
    d, values = deltas(rng, "normal", (25, LAST, 5), np.array([0.0, 0.5, 1.5, 3.0]))
    ours, wrong = adaptive(d, margin=0.8), 0
    for i in range(len(d)):
        nothing = Look(0, FIRST, LAST, decided=False)
        family = [
            Course(Tested(Hypothesis(str(a), "0", (0,)), (), Paired(0, None), None, None, 4, "holm", ALPHA, nothing))
            for a in range(4)
        ]
        for n in range(FIRST, LAST + 1):
            pairs = [(tuple(range(n)), values[i, :n, a + 1], values[i, :n, 0]) for a in range(4)]
            look_at(family, pairs, Look(n, FIRST, LAST, decided=False), (ALPHA, 0.8))
        seeds = [c.tested.look.seeds if c.tested.look else 0 for c in family]
        p = [c.tested.p is not None and c.tested.p < ALPHA for c in family]
        wrong += list(ours.seeds[i]) != seeds or list(ours.differs[i]) != p
    return wrong


def fixed_seeds(found: Findings, studies: int) -> None:
    """Family-wise error under no effect and under some, false discoveries, and coverage."""
    rng = np.random.default_rng(2)
    found.say("", "## Given seeds: errors and coverage, %", "", GIVEN, "")
    for noise, words in NOISE.items():
        promised = "" if noise in EXACT else " *(reported, not promised)*"
        found.say(f"**{words.capitalize()}**{promised}", "",
                  "| seeds | " + " | ".join(f"{arms} arms: error, none | error, some | false share | coverage" for arms in ARMS) + " |",
                  "|---:|" + "---:|" * 4 * len(ARMS))  # fmt: skip
        for n in SEEDS:
            cells = [cell for arms in ARMS for cell in _fixed(found, rng, noise, (studies, n, arms))]
            found.say(f"| {n} | " + " | ".join(cells) + " |")
        found.say("")


def _fixed(found: Findings, rng: np.random.Generator, noise: str, shape: tuple[int, int, int]) -> Iterator[str]:
    studies, n, arms = shape
    what = f"{noise} noise, {n} seeds, {arms} arms"
    p = t_p(deltas(rng, noise, shape)[0])
    none = (corrected(p, "holm") < ALPHA).any(1).mean()
    effects = np.where(np.arange(arms - 1) % 2, EFFECT, 0.0)
    d, _ = deltas(rng, noise, shape, effects)
    p = t_p(d)
    some = (corrected(p, "holm")[:, effects == 0] < ALPHA).any(1).mean()
    hits = corrected(p, "bh") < ALPHA
    share_false = (hits[:, effects == 0].sum(1) / np.maximum(hits.sum(1), 1)).mean()
    coverage = (t_p(d, effects) >= ALPHA).mean()
    if noise not in EXACT:
        yield from map(percent, (none, some, share_false, coverage))
        return
    yield found.rate(none, studies, f"family-wise error without effects, {what}")
    yield found.rate(some, studies, f"family-wise error with some effects, {what}")
    yield found.rate(share_false, studies, f"share of false findings, {what}")
    yield found.cover(coverage, f"coverage, {what}")


def seeds_as_needed(found: Findings, studies: int) -> None:
    """The adaptive rule: error, coverage, seeds spent; and what other rules do."""
    rng = np.random.default_rng(3)
    found.say("## Seeds as needed: looks after each seed from 3 to 10", "", AS_NEEDED, "",
              "| noise | arms | error, none | error, some | error, none, lost | coverage | margin error | seeds, none | seeds, effect |",
              "|---|---:|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for noise in NOISE:
        for arms in ARMS:
            found.say(
                f"| {noise} | {arms} | " + " | ".join(_adaptive_cells(found, rng, noise, (studies, LAST, arms))) + " |"
            )
    _other_rules(found, rng, studies)


def _adaptive_cells(found: Findings, rng: np.random.Generator, noise: str, shape: tuple[int, int, int]) -> list[str]:
    studies, _, arms = shape
    d, _ = deltas(rng, noise, shape)
    none = adaptive(d)
    effects = np.where(np.arange(arms - 1) % 2, EFFECT, 0.0)
    some = adaptive(deltas(rng, noise, shape, effects)[0], effects)
    lost = adaptive(np.where(rng.random(d.shape) < 0.1, np.nan, d))
    margin = np.sqrt(2.0)
    beside = adaptive(deltas(rng, noise, shape, margin)[0], margin, margin=margin)
    error, some_error = none.differs.any(1).mean(), some.differs[:, effects == 0].any(1).mean()
    lost_error, margin_error = lost.differs.any(1).mean(), (beside.equal & ~beside.differs).any(1).mean()
    coverage = np.mean([none.covered.mean(), some.covered.mean(), beside.covered.mean()])
    seeds = [f"{none.seeds.mean():.1f}", f"{some.seeds[:, effects > 0].mean():.1f}"]
    if noise not in EXACT:
        return [*map(percent, (error, some_error, lost_error, coverage, margin_error)), *seeds]
    rates = {
        "error": error,
        "error with some effects": some_error,
        "error with lost runs": lost_error,
        "margin error": margin_error,
    }
    said = [
        found.rate(rate, studies, f"adaptive rule, {name}, {noise} noise, {arms} arms") for name, rate in rates.items()
    ]
    few = found.promise(coverage >= 0.94, f"adaptive rule, coverage, {noise} noise, {arms} arms: {percent(coverage)}")
    return [*said[:3], percent(coverage) + few, said[3], *seeds]


def _other_rules(found: Findings, rng: np.random.Generator, studies: int) -> None:
    noise = rng.standard_normal((10 * studies, LAST, 1))
    looks = range(FIRST, LAST + 1)
    walk = np.abs(np.cumsum(noise[..., 0], axis=1))[:, FIRST - 1 :].max(1)
    edge = np.quantile(walk, 1 - ALPHA)
    alike = float(np.quantile(np.min([t_p(noise[:, :n])[:, 0] for n in looks], axis=0), ALPHA))
    rules = {
        "5 % at every look": dict.fromkeys(looks, ALPHA),
        "O'Brien-Fleming's levels, made for a known spread": {n: 2 * stats.norm.sf(edge / np.sqrt(n)) for n in looks},
        "alpha over the number of looks at each": dict.fromkeys(looks, ALPHA / len(looks)),
        "the same level at every look, calibrated on these studies": dict.fromkeys(looks, alike),
        "no looks: all 10 seeds": {n: ALPHA * (n == LAST) for n in looks},
        "**this rule**": None,
    }
    found.say("", "A single contrast, normal noise, by this and other rules; effects in sd of the deltas:", "",
              "| rule | error, % | found at 1 sd, % | seeds at 1 sd | found at 2 sd, % | seeds at 2 sd |",
              "|---|---:|---:|---:|---:|---:|")  # fmt: skip
    for rule, levels in rules.items():
        none, one, two = (adaptive(noise + effect, wrong=levels) for effect in (0.0, 1.0, 2.0))
        cells = [f"{percent(some.differs.mean())} | {some.seeds.mean():.1f}" for some in (one, two)]
        found.say(f"| {rule} | {percent(none.differs.mean())} | " + " | ".join(cells) + " |")
    found.say("")


def power_against_formula(found: Findings, studies: int) -> None:
    """How often an effect of the size that the plan names is found, and a margin of the seeds that it asks for."""
    rng = np.random.default_rng(4)
    sizes = [arms - 1 for arms in (2, *ARMS)]
    heads = " | ".join(f"{size} contrast{'s' * (size > 1)} | found" for size in sizes)
    found.say(
        "## Power against the formula", "", POWER, "", f"| seeds | {heads} |", "|---:|" + "---:|" * 2 * len(sizes)
    )
    for n in SEEDS:
        cells = []
        for contrasts in sizes:
            effect = power.smallest_effect(n, contrasts) or 0.0
            hits = (t_p(rng.standard_normal((2 * studies, n, 1)) + effect) < ALPHA / contrasts).mean()
            kept = found.promise(
                abs(hits - 0.8) <= 0.02, f"power at {n} seeds and {contrasts} contrasts: {percent(hits)}"
            )
            cells.append(f"{effect:.2f} | {percent(hits)}{kept}")
        found.say(f"| {n} | " + " | ".join(cells) + " |")
    found.say("", "| margin, sd of the deltas | seeds named | shown, % |", "|---:|---:|---:|")
    for margin in (0.5, 1.0, 2.0, 4.0):
        seeds = power.seeds_for_margin(margin) or 0
        shown = (equivalence_t_p(rng.standard_normal((studies, seeds, 1)), margin) < ALPHA).mean()
        kept = found.promise(shown >= 0.8 - 0.01, f"equivalence within {margin} at {seeds} seeds: {percent(shown)}")
        found.say(f"| {margin} | {seeds} | {percent(shown)}{kept} |")


def done_otherwise(found: Findings, studies: int) -> None:
    """What is usual, on the same studies: unpaired tests, the best mean in bold, bootstrap intervals."""
    rng = np.random.default_rng(5)
    found.say("", "## What is done otherwise, %", "", OTHERWISE, "",
              "| seeds | arms | bold | paired, single | unpaired, single | ours | found, unpaired, Holm | found, ours |",
              "|---:|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for n in SEEDS:
        for arms in ARMS:
            d, values = deltas(rng, "normal", (studies, n, arms))
            bold = (values.mean(1).argmax(1) > 0).mean()
            p, unpaired = t_p(d), _welch(values)
            effects = np.eye(arms - 1)[0] * 2.0
            d, values = deltas(rng, "normal", (studies, n, arms), effects)
            seen = [(corrected(one, "holm")[:, 0] < ALPHA).mean() for one in (_welch(values), t_p(d))]
            errors = [
                (p < ALPHA).any(1).mean(),
                (unpaired < ALPHA).any(1).mean(),
                (corrected(p, "holm") < ALPHA).any(1).mean(),
            ]
            found.say(f"| {n} | {arms} | " + " | ".join(map(percent, (bold, *errors, *seen))) + " |")
    found.say(
        "",
        "Coverage of 95 % intervals of a mean difference, normal noise:",
        "",
        "| seeds | BCa bootstrap, 999 resamples | t |",
        "|---:|---:|---:|",
    )
    for n in (3, 5, 10):
        d = rng.standard_normal((min(studies, 10_000), n, 1))
        found.say(f"| {n} | {percent(_bca_coverage(d[..., 0]))} | {percent((t_p(d) >= ALPHA).mean())} |")


def _welch(values: Array) -> Array:
    return np.asarray(stats.ttest_ind(values[..., 1:], values[..., :1], axis=1, equal_var=False).pvalue)


def _bca_coverage(d: Array) -> float:
    rng, held = np.random.default_rng(6), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three values can leave no interval at all, which is counted as not covering
        for part in np.array_split(d, max(1, d.size // 5_000)):
            ends = stats.bootstrap((part,), np.mean, n_resamples=999, method="BCa", axis=1, rng=rng).confidence_interval
            held += list((ends.low <= 0) & (ends.high >= 0))
    return float(np.mean(held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20_000, help="simulated studies a cell")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found, began = Findings(), time.monotonic()
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "statsmodels"))
    when = f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {packages}"
    found.say("# Whether the statistics keep their promises", "", f"{when}; {options.studies:,} simulated studies a cell.",
              f"A rate of 5 % has a standard error of {100 * np.sqrt(0.05 * 0.95 / options.studies):.2f} points. {PROMISED}")  # fmt: skip
    same_as_the_analysis(found)
    for part in (fixed_seeds, seeds_as_needed, power_against_formula, done_otherwise):
        part(found, options.studies)
        print(f"{part.__name__}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    found.say(
        "",
        f"**{len(found.broken)} promises broken.**" if found.broken else "All promises kept.",
        *(f"- {one}" for one in found.broken),
    )
    text = "\n".join(found.lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)
    sys.exit(1 if found.broken else 0)


if __name__ == "__main__":
    main()
